package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/root/events"
)

// pipes is a server's listener and a client's way to it, in virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// web serves a rig over HTTP/1.1.
type web struct {
	*rig
	pipes *pipes
}

func newWeb(t *testing.T) *web {
	w := &web{newRig(t), &pipes{make(chan net.Conn), make(chan struct{})}}
	server := &http.Server{Handler: w.handler}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(w.pipes) }()
	t.Cleanup(func() {
		must(t, server.Close())
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return w
}

// reader follows events.
type reader struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

func (w *web) follow(user, query, last string) *reader {
	w.t.Helper()
	token := w.token(user)
	mine, its := net.Pipe()
	w.pipes.conns <- its
	w.t.Cleanup(func() { _ = mine.Close() })
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://root/api/events"+query, nil)
	must(w.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Last-Event-ID", last)
	must(w.t, req.Write(mine))
	resp, err := http.ReadResponse(bufio.NewReader(mine), req)
	must(w.t, err)
	w.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	return &reader{w.t, mine, bufio.NewReader(resp.Body)}
}

// next is the id and the data of the next message that is no comment; "" at
// the end.
func (r *reader) next() (name, id, data string) {
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return "", "", ""
		}
		field, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			return name, id, value
		}
	}
}

func (w *web) happens(n int) {
	for i := range n {
		w.journal.Record(events.Event{Subject: events.Subject{Type: events.Root, ID: "root"}, Kind: events.Normal, Reason: "Tick", Message: fmt.Sprint(i)})
	}
}

// readers waits until nothing moves and says how many follow.
func (w *web) readers() int { synctest.Wait(); return w.journal.Stats().Readers }

func TestAStreamGoesOnAfterTheLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		w.happens(3)
		r := w.follow("Admin", "?after=0", "")
		_, _, _ = r.next()
		_, last, data := r.next()
		if !strings.Contains(data, `"message":"1"`) {
			t.Fatalf("second is %s", data)
		}
		_ = r.conn.Close()
		time.Sleep(sseBeat)
		if n := w.readers(); n != 0 {
			t.Errorf("%d readers after one has gone", n)
		}
		w.journal.Record(events.Event{Subject: events.Subject{Type: events.Root, ID: "root"}, Kind: events.Normal, Reason: "Tock", Message: "missed"})
		r = w.follow("Admin", "?after=0", last) // the header is the later word
		for _, want := range []string{`"message":"2"`, `"message":"missed"`} {
			if name, _, data := r.next(); name != "event" || !strings.Contains(data, want) {
				t.Errorf("%s %s, want %s", name, data, want)
			}
		}
		w.happens(1) // counts up the one of before, under a new id
		if _, id, data := r.next(); !strings.Contains(data, `"message":"0"`) || id == last {
			t.Errorf("as it happens: %s %s", id, data)
		}
	})
}

func TestAReaderThatTakesNothingIsCut(t *testing.T) {
	for _, n := range []int{1, 1000} { // waits to be written; and does not even fit what waits
		synctest.Test(t, func(t *testing.T) {
			w := newWeb(t)
			r := w.follow("Admin", "", "")
			if _, err := r.lines.ReadString('\n'); err != nil { // the first comment
				t.Fatal(err)
			}
			if w.readers() != 1 {
				t.Fatal("nobody follows")
			}
			w.happens(n)
			begin := time.Now()
			time.Sleep(sendWait - time.Second)
			if w.readers() == 0 && n == 1 {
				t.Error("cut too early")
			}
			time.Sleep(2 * time.Second)
			if got := w.readers(); got != 0 {
				t.Errorf("%d follow %s after the reader stopped", got, time.Since(begin))
			}
			if _, err := io.Copy(io.Discard, r.conn); err != nil {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	for name, end := range map[string]func(w *web){
		"expiry": func(*web) { time.Sleep(10 * time.Minute) },
		"logout": func(w *web) { w.call("Admin", http.MethodPost, "/api/auth/logout", nil).want(http.StatusOK) },
		"no user any more": func(w *web) {
			must(w.t, w.store.Users().Delete(context.WithoutCancel(w.t.Context()), "Admin"))
			time.Sleep(2 * time.Second) // who holds a token may be remembered for a second
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWeb(t)
				r := w.follow("Admin", "", "")
				said := make(chan [2]string, 2)
				go func() {
					for {
						name, _, data := r.next()
						if said <- [2]string{name, data}; name == "" {
							return
						}
					}
				}()
				time.Sleep(2 * sseBeat)
				synctest.Wait()
				if len(said) != 0 {
					t.Fatalf("early: %v", <-said)
				}
				end(w)
				time.Sleep(sseBeat + time.Second)
				synctest.Wait()
				if m := <-said; m[0] != "cut" || !strings.Contains(m[1], "token is over") {
					t.Errorf("the last message is %q", m)
				}
				if m := <-said; m[0] != "" {
					t.Errorf("after it comes %q", m)
				}
				if n := w.readers(); n != 0 {
					t.Errorf("%d readers", n)
				}
			})
		})
	}
}
