package session

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"oakestra/pkg/errs"
)

// What is checked before is what Accept checks: none passes that it refuses.
func TestAHandshakeIsCheckedAsItIsAccepted(t *testing.T) {
	own := []string{"https://dash.example", "*.oak.example"}
	for change, want := range map[string]string{
		"":                                 "",
		"Upgrade=":                         "Upgrade",
		"Upgrade=h2c":                      "Upgrade",
		"Upgrade=h2c, WebSocket":           "",
		"Connection=close":                 "Connection",
		"Connection=keep-alive, upgrade":   "",
		"Sec-WebSocket-Version=12":         "Sec-WebSocket-Version",
		"Sec-WebSocket-Key=":               "Sec-WebSocket-Key",
		"Sec-WebSocket-Key=c2hvcnQ=":       "Sec-WebSocket-Key",
		"Origin=https://dash.example":      "",
		"Origin=http://dash.example":       "forbidden",
		"Origin=https://evil.example":      "forbidden",
		"Origin=https://Dash.OAK.example":  "",
		"Origin=http://root.example:10000": "",
		"Origin=null":                      "forbidden",
		"Origin=http://%zz":                "forbidden",
	} {
		r := httptest.NewRequest(http.MethodGet, "http://root.example:10000/exec", nil)
		for name, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ=="} {
			r.Header.Set(name, v)
		}
		if name, v, _ := strings.Cut(change, "="); name != "" {
			r.Header.Set(name, v)
		}
		got := ""
		for _, p := range Handshake(r) {
			got += p.Path
		}
		err := MayOpen(r, own)
		if errors.Is(err, errs.Forbidden) {
			got += "forbidden"
		}
		w := httptest.NewRecorder()
		_, refused := Accept(w, r, own)
		// A recorder cannot be taken over: that is how far a good one comes.
		if good := w.Code == http.StatusSwitchingProtocols; got != want || good != (want == "") || refused == nil {
			t.Errorf("%s: %q %v, want %q; Accept answers %d, %v", change, got, err, want, w.Code, refused)
		}
		if err := MayOpen(r, nil); err != nil {
			t.Errorf("%s: %v", change, err)
		}
	}
}
