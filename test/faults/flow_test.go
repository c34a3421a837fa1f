package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"oakestra/test/site"
)

// flow is one TCP connection out of a container that asks nginx for its name
// again and again, so that it notices at once when the connection is broken.
type flow struct {
	t     testing.TB
	stop  context.CancelFunc
	ended chan struct{}
	asked int
	worst time.Duration
	err   error
}

// nginx ends a connection after 1,000 requests, so one lasts 500 s.
const askEvery = 500 * time.Millisecond

func openFlow(t testing.TB, from site.Container, address string) *flow {
	t.Helper()
	dial, hangUp := context.WithTimeout(t.Context(), 10*time.Second)
	defer hangUp()
	conn, err := from.Dial(dial, "tcp", address+":80")
	if err != nil {
		t.Fatalf("open a flow to %s: %v", address, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &flow{t: t, stop: stop, ended: make(chan struct{})}
	t.Cleanup(func() { stop(); <-f.ended })
	go func() {
		defer close(f.ended)
		defer conn.Close()
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		answers := bufio.NewReader(conn)
		for {
			begin := time.Now()
			_ = conn.SetDeadline(begin.Add(2 * time.Minute))
			if _, f.err = fmt.Fprintf(conn, "GET /whoami HTTP/1.1\r\nHost: test\r\n\r\n"); f.err != nil {
				return
			}
			if f.err = readAll(answers); f.err != nil {
				return
			}
			f.asked++
			f.worst = max(f.worst, time.Since(begin))
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return f
}

func readAll(from *bufio.Reader) error {
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// close ends the flow, which must have lived until now.
func (f *flow) close(t testing.TB) {
	t.Helper()
	f.stop()
	<-f.ended
	resets := 0
	if f.err != nil {
		resets = 1
		t.Errorf("the flow broke after %d requests: %v", f.asked, f.err)
	}
	figure(t, "flow of %d requests on one connection: %d resets, longest wait %s", f.asked, resets, f.worst.Round(time.Millisecond))
}

// visit is one request on a connection of its own.
type visit struct {
	at  time.Time
	who string // host name of the container that answered
	err error
}

// visitor asks a service address again and again.
type visitor struct {
	stop  context.CancelFunc
	ended chan struct{}
	mu    sync.Mutex
	list  []visit
}

// patience is how long a visit waits for its answer.
const patience = time.Second

func visitAgain(t testing.TB, from site.Container, address string) *visitor {
	ctx, stop := context.WithCancel(context.Background())
	v := &visitor{stop: stop, ended: make(chan struct{})}
	t.Cleanup(func() { stop(); <-v.ended })
	go func() {
		defer close(v.ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			begin := time.Now()
			who, err := visitOnce(ctx, from, address)
			v.mu.Lock()
			v.list = append(v.list, visit{begin, who, err})
			v.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return v
}

func visitOnce(ctx context.Context, from site.Container, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", address+":80")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "GET /whoami HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	_, body, ok := strings.Cut(string(text), "\r\n\r\n")
	if !ok {
		return "", fmt.Errorf("strange answer %q", text)
	}
	return strings.Fields(body + " ?")[0], nil
}

// since lists the visits that began after a time.
func (v *visitor) since(from time.Time) []visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, one := range v.list {
		if one.at.After(from) {
			return append([]visit(nil), v.list[i:]...)
		}
	}
	return nil
}

// say logs the visits since a time that failed.
func (v *visitor) say(t testing.TB, from time.Time) {
	for _, one := range v.since(from) {
		if one.err != nil {
			t.Logf("failed: the visit that began after %s: %v", one.at.Sub(from).Round(10*time.Millisecond), one.err)
		}
	}
}

// failures counts the visits since a time that failed, and how long after it
// the last of them began.
func (v *visitor) failures(from time.Time) (all, failed int, last time.Duration) {
	for _, one := range v.since(from) {
		all++
		if one.err != nil {
			failed, last = failed+1, one.at.Sub(from)
		}
	}
	return all, failed, last
}
