package session

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"oakestra/pkg/errs"
)

// version of WebSockets (RFC 6455), and how many bytes a key has.
const (
	version = "13"
	keySize = 16
)

// Handshake is what Accept would refuse of a request, so that who serves it can
// do so before anything begins. See MayOpen for the page that asks.
func Handshake(r *http.Request) errs.Problems {
	if !hasToken(r.Header, "Upgrade", "websocket") || !r.ProtoAtLeast(1, 1) {
		return errs.Problems{{Path: "Upgrade", Value: r.Header.Get("Upgrade"), Message: "a command is run over a WebSocket; see oak exec"}}
	}
	var p errs.Problems
	if !hasToken(r.Header, "Connection", "Upgrade") {
		p = append(p, errs.Problem{Path: "Connection", Value: r.Header.Get("Connection"), Message: "want Upgrade; a proxy on the way may have taken it out"})
	}
	if v := r.Header.Get("Sec-WebSocket-Version"); v != version {
		p = append(p, errs.Problem{Path: "Sec-WebSocket-Version", Value: v, Message: "want " + version})
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 || !isKey(keys[0]) {
		p = append(p, errs.Problem{Path: "Sec-WebSocket-Key", Message: fmt.Sprintf("want one, of %d bytes in base64", keySize)})
	}
	return p
}

func isKey(text string) bool {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	return err == nil && len(b) == keySize
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(h.Values(name), ","), ","), func(s string) bool {
		return strings.EqualFold(strings.TrimSpace(s), token)
	})
}

// MayOpen says whether Accept would let the page open a session that asks.
// origins are as for Accept. Error: errs.Forbidden.
func MayOpen(r *http.Request, origins []string) error {
	origin := r.Header.Get("Origin")
	if origin == "" || len(origins) == 0 {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil {
		return fmt.Errorf("the page's Origin %q is no URL: %w", origin, errs.Forbidden)
	}
	if strings.EqualFold(r.Host, u.Host) {
		return nil
	}
	for _, pattern := range origins {
		target := u.Host
		if strings.Contains(pattern, "://") {
			target = u.Scheme + "://" + u.Host
		}
		if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(target)); err == nil && ok {
			return nil
		}
	}
	return fmt.Errorf("pages of %q may not open a session here: %w", origin, errs.Forbidden)
}
