package door

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oakestra/pkg/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// election says who serves, for both doors.
type election struct {
	mu      sync.Mutex
	address string
	term    uint64
}

func (e *election) set(address string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.address = address
	e.term++
}

// house is a door with a port for requests and one for links.
type house struct {
	*Door
	web, wire net.Listener
}

func build(t *testing.T, e *election) *house {
	t.Helper()
	h := &house{}
	var err error
	if h.web, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if h.wire, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	h.Door = New(Deps{Logger: testkit.Logger(t), Version: "test", Holder: func() (string, uint64, bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.address, e.term, e.address == h.web.Addr().String()
	}})
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(h.web) })
	wg.Go(func() { _ = h.Serve(h.wire) })
	wg.Go(func() { _ = h.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = h.wire.Close()
		h.Stop()
		_ = server.Close()
		wg.Wait()
	})
	return h
}

func (h *house) url(path string) string { return "http://" + h.web.Addr().String() + path }

func get(t *testing.T, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(body), a.Header
}

func TestNobodyServes(t *testing.T) {
	h := build(t, &election{})
	status, body, header := get(t, h.url("/api/x"))
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !strings.Contains(body, `"message"`) {
		t.Errorf("%d %s %v", status, body, header)
	}
	if status, _, _ := get(t, h.url("/healthz")); status != http.StatusOK {
		t.Errorf("the process is alive, it says %d", status)
	}
}

func TestRequestsFindTheHolder(t *testing.T) {
	e := &election{}
	a, b := build(t, e), build(t, e)
	e.set(a.web.Addr().String())
	a.Open(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a "+r.Host+" "+strings.Join(r.Header.Values("X-Forwarded-For"), ","))
	}))
	testkit.Eventually(t, 5*time.Second, func() error {
		if status, body, _ := get(t, b.url("/x")); status != http.StatusOK {
			return &net.AddrError{Err: body}
		}
		return nil
	})
	_, body, _ := get(t, b.url("/x"), "X-Forwarded-For", "203.0.113.9")
	if want := "a " + b.web.Addr().String() + " 203.0.113.9, 127.0.0.1"; body != want {
		t.Errorf("%q, want %q: the host and where it comes from are kept", body, want)
	}
	if _, body, _ := get(t, a.url("/x")); body != "a "+a.web.Addr().String()+" " {
		t.Errorf("%q", body)
	}
	// Shut, and still taken for the holder: no circle, an answer.
	a.Shut()
	if status, _, _ := get(t, b.url("/x")); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
}

func TestADeadHolderIsAnAnswerToo(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	address := dead.Listener.Addr().String()
	dead.Close()
	e := &election{}
	h := build(t, e)
	e.set(address)
	testkit.Eventually(t, 5*time.Second, func() error {
		if at, _ := h.there(); at != address {
			return &net.AddrError{Err: "not there yet", Addr: at}
		}
		return nil
	})
	status, _, header := get(t, h.url("/x"))
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("%d %v", status, header)
	}
}

// A stream of events passes line by line, and ends when the holder changes.
func TestEventsAreNotHeldBack(t *testing.T) {
	e := &election{}
	a, b := build(t, e), build(t, e)
	e.set(a.web.Addr().String())
	next, ended := make(chan string), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	a.Open(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events" {
			return
		}
		defer close(ended)
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case s := <-next:
				_, _ = io.WriteString(w, "data: "+s+"\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	testkit.Eventually(t, 5*time.Second, func() error {
		if status, body, _ := get(t, b.url("/ready")); status != http.StatusOK {
			return &net.AddrError{Err: body}
		}
		return nil
	})
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() { next <- "1" }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url("/events"), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewReader(answer.Body)
	for _, want := range []string{"data: 1\n", "data: 2\n"} {
		if got, err := lines.ReadString('\n'); err != nil || got != want {
			t.Fatalf("%q %v, want %q", got, err, want)
		}
		if want == "data: 1\n" {
			next <- "2"
		}
	}
	a.Shut()
	cancel() // the holder serves no more
	<-ended
	if rest, err := io.ReadAll(lines); err == nil && len(rest) > 0 {
		t.Errorf("%q came after the end", rest)
	}
}

func TestLinksFindTheHolder(t *testing.T) {
	e := &election{}
	a, b := build(t, e), build(t, e)
	dial := func() (net.Conn, error) {
		c, err := net.Dial("tcp", b.wire.Addr().String())
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			return nil, err
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(c, buf); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
	if _, err := dial(); err == nil {
		t.Fatal("a link was answered while nobody serves")
	}
	// The holder's links come to the port that requests come to.
	e.set(a.web.Addr().String())
	a.Open(t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	err := a.serves(t.Context(), a.web.Addr().String())
	if err != nil {
		t.Error(err)
	}
	if err := b.serves(t.Context(), b.web.Addr().String()); err == nil {
		t.Error("b says that it serves")
	}
	// At the holder itself they are handed over.
	links := a.Open(t.Context(), http.NotFoundHandler())
	go func() {
		c, err := net.Dial("tcp", a.wire.Addr().String())
		if err == nil {
			_, _ = io.WriteString(c, "link")
			_ = c.Close()
		}
	}()
	c, err := links.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "link" {
		t.Errorf("%q %v", got, err)
	}
	_ = c.Close()
}

func TestJoinedConnectionsEndTogether(t *testing.T) {
	for name, end := range map[string]func(near, far net.Conn, cancel func()){
		"near": func(near, _ net.Conn, _ func()) { _ = near.Close() },
		"far":  func(_, far net.Conn, _ func()) { _ = far.Close() },
		"era":  func(_, _ net.Conn, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			near, a := net.Pipe()
			b, far := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() { join(ctx, a, b); close(done) }()
			go func() { _, _ = io.WriteString(near, "to") }()
			buf := make([]byte, 2)
			if _, err := io.ReadFull(far, buf); err != nil || string(buf) != "to" {
				t.Fatalf("%q %v", buf, err)
			}
			end(near, far, cancel)
			<-done
			_ = near.Close()
			_ = far.Close()
		})
	}
}
