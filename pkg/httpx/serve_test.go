package httpx

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo stands in for a gRPC server: it answers each connection with a mark and
// what it was sent first.
type echo struct {
	once sync.Once
	stop chan struct{}
}

func (e *echo) Serve(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		buf := make([]byte, 24)
		n, _ := io.ReadFull(c, buf)
		_, _ = c.Write(append([]byte("stream:"), buf[:n]...))
		_ = c.Close()
	}
}

func (e *echo) Stop() { e.once.Do(func() { close(e.stop) }) }

func start(t *testing.T, h http.Handler) (addr string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, h, &echo{stop: make(chan struct{})}) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return ln.Addr().String(), stop
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "web "+r.URL.Path) })

func TestTheFirstBytesDecide(t *testing.T) {
	addr, _ := start(t, hello)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + "/x")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "web /x" {
		t.Errorf("HTTP/1.1 answer = %q", body)
	}

	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const h2 = h2preface
	// In two pieces: a preface may arrive split.
	for _, part := range []string{h2[:2], h2[2:]} {
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	got, _ := io.ReadAll(conn)
	if string(got) != "stream:"+h2 {
		t.Errorf("HTTP/2 preface reached the stream server as %q", got)
	}
}

func TestASilentConnectionDoesNotDelayOthersAndStopIsQuick(t *testing.T) {
	addr, stop := start(t, hello)
	for range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestARunningRequestMayFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	addr, stop := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	answer := make(chan error, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		resp, err := client.Get("http://" + addr)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !strings.Contains(string(body), "done") {
				err = errors.New("cut off: " + string(body))
			}
		}
		answer <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
