package door

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/session"
	"oakestra/pkg/testkit"
)

// A command's WebSocket and a log's trailer pass, and end when the holder changes.
func TestSessionsAreForwarded(t *testing.T) {
	e := &election{}
	a, b := build(t, e), build(t, e)
	e.set(a.web.Addr().String())
	a.Open(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/logs":
			w.Header().Set("Trailer", "Oakestra-End")
			_, _ = io.WriteString(w, "line\n")
			w.Header().Set("Oakestra-End", "worker w1 is lost")
		case "/exec":
			sock, err := session.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer sock.Close()
			for {
				f, err := sock.Recv(r.Context())
				if err != nil || sock.Send(r.Context(), f) != nil {
					return
				}
			}
		}
	}))
	testkit.Eventually(t, 5*time.Second, func() error {
		if status, body, _ := get(t, b.url("/ready")); status != http.StatusOK {
			return &net.AddrError{Err: body}
		}
		return nil
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url("/logs"), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || string(text) != "line\n" || answer.Trailer.Get("Oakestra-End") != "worker w1 is lost" {
		t.Errorf("%q %v %v", text, answer.Trailer, err)
	}
	sock, err := session.Dial(t.Context(), "ws"+strings.TrimPrefix(b.url("/exec"), "http"), nil, client)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	for _, word := range []string{"one", "two"} {
		if err := sock.Send(t.Context(), session.Frame{Kind: session.Stdin, Data: []byte(word)}); err != nil {
			t.Fatal(err)
		}
		if f, err := sock.Recv(t.Context()); err != nil || string(f.Data) != word {
			t.Fatalf("%+v %v", f, err)
		}
	}
	e.set("")
	if f, err := sock.Recv(t.Context()); err == nil {
		t.Errorf("another serves, and it goes on: %+v", f)
	}
}
