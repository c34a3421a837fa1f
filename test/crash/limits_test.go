package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	linkv1 "oakestra/api/link/v1"
)

const (
	growth   = 64 << 10               // how much memory any of the floods below may cost, in KiB
	patience = 200 * time.Millisecond // in which 99 of 100 requests of others are answered
	enough   = 500                    // requests, to speak of one in a hundred
)

// TestFloods sends what no client should. Each is refused with 4xx, or cut
// off; memory stays bounded, and others are answered meanwhile.
func TestFloods(t *testing.T) {
	r := newRoot(t)
	r.start()
	r.serve(30 * time.Second)
	token := login(t, r)
	auth := "Authorization: Bearer " + token + "\r\n"
	post := func(path, headers string, size int64) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, headers, size)
	}
	whole := func(path, body string) func(net.Conn) error {
		return func(c net.Conn) error { return send(c, post(path, auth, int64(len(body)))+body) }
	}
	deep := strings.Repeat(`{"applications":[`, 5000) + strings.Repeat("]}", 5000)
	takenBack := resets(t, 5000)
	written := declared(t, r, "/api/application/", "/api/service/", "/api/auth/login", "/api/service/{id}/instance")
	const gib = 1 << 30
	cases := []struct {
		name  string
		conns int
		write func(net.Conn) error
		want  []int // 0: closed without an answer
	}{
		{"a body of 1 GiB, announced", 8, func(c net.Conn) error { return pour(c, post("/api/application/", auth, gib), gib, false) }, []int{413}},
		{"a body of 1 GiB, in chunks", 8, func(c net.Conn) error {
			return pour(c, "POST /api/application/ HTTP/1.1\r\nHost: x\r\n"+auth+"Transfer-Encoding: chunked\r\n\r\n", gib, true)
		}, []int{413}},
		{"a login of 1 GiB", 8, func(c net.Conn) error { return pour(c, post("/api/auth/login", "", gib), gib, false) }, []int{413}},
		{"1 GiB to a route that reads no body", 8, func(c net.Conn) error {
			return pour(c, post("/api/service/500000000000000000000000/instance", auth, gib), gib, false)
		}, []int{404}},
		{"1 GiB from nobody", 8, func(c net.Conn) error { return pour(c, post("/api/application/", "", gib), gib, false) }, []int{401}},
		{"a descriptor nested 10 000 deep", 20, whole("/api/application/", deep), []int{400, 422}},
		{"a login nested 10 000 deep", 20, whole("/api/auth/login", `{"username":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+"}"), []int{400, 422}},
		{"a descriptor with 100 000 keys", 20, whole("/api/application/", keys(100_000)), []int{400, 413, 422}},
		{"a service with 100 000 keys", 20, whole("/api/service/", strings.Replace(`{"applications":[{"microservices":[K]}]}`, "K", keys(100_000), 1)), []int{400, 413, 422}},
		{"a list of 250 000 objects", 20, whole("/api/application/", `{"applications":[{}`+strings.Repeat(",{}", 250_000)+"]}"), []int{400, 413, 422}},
		{"a descriptor with 60 000 keys", 20, whole("/api/application/", keys(60_000)), []int{422, 503}},
		{"a small descriptor with 6 000 keys", 200, whole("/api/application/", keys(6_000)), []int{422}},
		{"a small list of 20 000 objects", 200, whole("/api/application/", `{"applications":[{}`+strings.Repeat(",{}", 20_000)+"]}"), []int{422}},
		{"a login with 100 000 keys", 20, whole("/api/auth/login", keys(100_000)), []int{400, 401, 413, 422, 429}},
		{"a header of 4 MiB", 50, func(c net.Conn) error {
			return send(c, "GET /api/services/ HTTP/1.1\r\nHost: x\r\nX-A: "+strings.Repeat("a", 4<<20)+"\r\n\r\n")
		}, []int{431}},
		{"100 000 headers", 50, func(c net.Conn) error {
			return send(c, "GET /api/services/ HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("X-A: a\r\n", 100_000)+"\r\n")
		}, []int{431}},
		{"a path of 1 MiB", 50, func(c net.Conn) error {
			return send(c, "GET /"+strings.Repeat("a", 1<<20)+" HTTP/1.1\r\nHost: x\r\n\r\n")
		}, []int{431, 414}},
		{"no HTTP", 50, func(c net.Conn) error { return send(c, strings.Repeat("\x00\xff", 1<<16)) }, []int{400, 431, 0}},
		{"sockets that are slow in every way", 1000, each(
			func(net.Conn) error { return nil },
			func(c net.Conn) error { return trickle(c, "GET / HTTP/1.1\r\nHost: x\r\n", "X-A: a\r\n") },
			func(c net.Conn) error { return trickle(c, post("/api/application/", auth, 1000), " ") },
			func(c net.Conn) error { return trickle(c, post("/api/auth/login", "", 1000), " ") },
			func(c net.Conn) error {
				return trickle(c, post("/api/service/500000000000000000000000/instance", auth, 1000), " ")
			},
			func(c net.Conn) error {
				return send(c, post("/api/application/", auth, 1<<20)+strings.Repeat(" ", 1<<17))
			},
			func(c net.Conn) error { return send(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") },
		), []int{404, 408, 503, 0}},
		{"requests of HTTP/2 that are taken back at once", 1000, func(c net.Conn) error { return send(c, takenBack) }, []int{0}},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			before := r.rest()
			other := watch(t, newClient(r, token))
			got := flood(t, r.addr, k.conns, k.write)
			took := other()
			peak := r.memory("VmHWM") - before
			p99 := took[len(took)*99/100]
			t.Logf("%d connections: %v; memory at most +%.1f MiB; others were answered %d times, 99 of 100 within %s, all within %s", k.conns, got,
				float64(peak)/1024, len(took), p99.Round(time.Millisecond/10), took[len(took)-1].Round(time.Millisecond))
			if peak > growth {
				t.Errorf("memory grew by %d KiB, the limit is %d", peak, growth)
			}
			if len(took) >= enough && p99 > patience {
				t.Errorf("99 of 100 answers to others came within %s, the limit is %s", p99, patience)
			}
			for status := range got {
				if !contains(k.want, status) {
					t.Errorf("answers %v, want %v", got, k.want)
				}
				if !undeclared[status] && !slices.ContainsFunc(written, func(o map[string]any) bool { return o[fmt.Sprint(status)] != nil }) {
					t.Errorf("no operation that was flooded declares %d", status)
				}
			}
		})
	}
}

func contains(list []int, v int) bool {
	for _, w := range list {
		if w == v {
			return true
		}
	}
	return false
}

// undeclared are what is answered before there is an operation: cut off, not
// HTTP, too long a head.
var undeclared = map[int]bool{0: true, 400: true, 414: true, 431: true}

// declared are the responses of the POSTs of paths, as the document says.
func declared(t *testing.T, r *root, paths ...string) (out []map[string]any) {
	t.Helper()
	resp, err := http.Get("http://" + r.addr + "/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d struct {
		Paths map[string]map[string]struct{ Responses map[string]any }
	}
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		o, there := d.Paths[path]["post"]
		if !there {
			t.Fatalf("the document has no POST %s", path)
		}
		out = append(out, o.Responses)
	}
	return out
}

// rest forgets the peak so far and returns what the process holds now.
func (r *root) rest() int {
	r.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", r.cmd.Process.Pid), []byte("5"), 0); err != nil {
		r.t.Fatal(err)
	}
	return r.memory("VmRSS")
}

// watch asks as another user would, until stopped; it returns what each answer
// took, sorted.
func watch(t *testing.T, c *client) (stop func() []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var took []time.Duration
	go func() {
		defer close(ended)
		for len(took) == 0 || ctx.Err() == nil {
			begin := time.Now()
			f, _, _, err := c.do(http.MethodGet, "/api/services/", nil)
			took = append(took, time.Since(begin))
			if f != done {
				t.Errorf("another user is not answered: %v", err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() []time.Duration { cancel(); <-ended; slices.Sort(took); return took }
}

// flood opens connections at once and counts how each ends.
func flood(t *testing.T, addr string, conns int, write func(net.Conn) error) map[int]int {
	t.Helper()
	var mu sync.Mutex
	got := map[int]int{}
	var all sync.WaitGroup
	for range conns {
		all.Go(func() {
			status, err := once(addr, write)
			mu.Lock()
			defer mu.Unlock()
			if got[status]++; err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return got
}

// once returns the status of the answer, 0 when the connection is closed
// without one.
func once(addr string, write func(net.Conn) error) (int, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(90 * time.Second))
	go func() { _ = write(c) }() // the server closes when it has had enough
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil { // closed, or words of HTTP/2 and then closed
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errors.New("neither answered nor closed within 90 s")
		}
		return 0, nil
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

func send(c net.Conn, text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// pour sends a head and then blanks, whole or in chunks of HTTP.
func pour(c net.Conn, head string, size int64, chunked bool) error {
	if err := send(c, head); err != nil {
		return err
	}
	const piece = 64 << 10
	block := strings.Repeat(" ", piece)
	if chunked {
		block = fmt.Sprintf("%x\r\n%s\r\n", piece, block)
	}
	for range size / piece {
		if err := send(c, block); err != nil {
			return err
		}
	}
	if chunked {
		return send(c, "0\r\n\r\n")
	}
	return nil
}

// each does one thing after the other, on connections that come at once.
func each(writes ...func(net.Conn) error) func(net.Conn) error {
	var n atomic.Int64
	return func(c net.Conn) error { return writes[int(n.Add(1))%len(writes)](c) }
}

// trickle sends a head and then a little every second.
func trickle(c net.Conn, head, drop string) error {
	err := send(c, head)
	for ; err == nil; time.Sleep(time.Second) {
		err = send(c, drop)
	}
	return err
}

// resets opens streams of HTTP/2 and takes each back (CVE-2023-44487).
func resets(t *testing.T, n int) string {
	t.Helper()
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	framer, encoder := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
	err := framer.WriteSettings()
	for id := uint32(1); id < uint32(2*n); id += 2 {
		block.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", linkv1.Link_Control_FullMethodName}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
			err = errors.Join(err, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		err = errors.Join(err, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}), framer.WriteRSTStream(id, http2.ErrCodeCancel))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// keys is an object with many of them, as short as can be.
func keys(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%x":0`, i)
	}
	b.WriteByte('}')
	return b.String()
}
