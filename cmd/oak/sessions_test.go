package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	wire "oakestra/api/rest"
	"oakestra/pkg/session"
	"oakestra/pkg/testkit"
)

// scriptedRoot has a service nginx with two instances and a service curl with
// one, and answers logs and commands of them.
func scriptedRoot(t *testing.T) {
	t.Helper()
	mux := http.NewServeMux()
	list := `[{"microserviceID":"s1","job_name":"shop.test.nginx.test","microservice_name":"nginx","instance_list":[{"instance_number":0},{"instance_number":2}]},
		{"microserviceID":"s2","job_name":"shop.test.curl.test","microservice_name":"curl","instance_list":[{"instance_number":0}]},
		{"microserviceID":"s3","job_name":"shop.test.empty.test","microservice_name":"empty","instance_list":[]}]`
	mux.HandleFunc("GET /api/services/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, list) })
	mux.HandleFunc("GET /api/service/{id}", func(w http.ResponseWriter, r *http.Request) {
		var all []json.RawMessage
		if err := json.Unmarshal([]byte(list), &all); err != nil {
			t.Error(err)
		}
		_, _ = w.Write(all[r.PathValue("id")[1]-'1'])
	})
	mux.HandleFunc("GET /api/service/{id}/instance/{number}/logs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", wire.HeaderEnd)
		_, _ = fmt.Fprintf(w, "%s/%s %s\nlast", r.PathValue("id"), r.PathValue("number"), r.URL.RawQuery)
		if r.PathValue("number") == "2" {
			w.Header().Set(wire.HeaderEnd, "worker w1 is lost")
		}
	})
	mux.HandleFunc("GET /api/service/{id}/instance/{number}/exec", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("command") == "nonsense" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":404,"message":"the container has no program \"nonsense\" that can be run"}`)
			return
		}
		sock, err := session.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer sock.Close()
		answer(t, r, sock)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Setenv("OAK_ROOT", server.URL)
	t.Setenv("OAK_TOKEN", "token")
}

// answer says what was asked, then what is typed, and ends with 7, or as the
// command says.
func answer(t *testing.T, r *http.Request, sock *session.Socket) {
	ctx, q := r.Context(), r.URL.Query()
	send := func(f session.Frame) {
		if err := sock.Send(ctx, f); err != nil {
			t.Error(err)
		}
	}
	send(session.Frame{Kind: session.Stdout, Data: fmt.Appendf(nil, "%q stdin=%s tty=%s\n", q["command"], q.Get("stdin"), q.Get("tty"))})
	if r.Header.Get("Authorization") != "Bearer token" {
		t.Errorf("authorization %q", r.Header.Get("Authorization"))
	}
	for q.Get("stdin") == "true" {
		f, err := sock.Recv(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		if f.Kind == session.StdinClosed || string(f.Data) == "\x04" {
			break
		}
		if f.Kind == session.Resize {
			f.Data = fmt.Appendf(nil, "<%dx%d>", f.Columns, f.Rows)
		}
		send(session.Frame{Kind: session.Stdout, Data: f.Data})
	}
	switch q.Get("command") {
	case "cut":
		return
	case "lost":
		send(session.Frame{Kind: session.End, Class: "unavailable", Message: "worker w1 is lost"})
	case "true":
		send(session.Frame{Kind: session.End})
	default:
		send(session.Frame{Kind: session.End, Exit: 7})
	}
	sock.Finish()
}

func TestLogsFromTheCommandLine(t *testing.T) {
	scriptedRoot(t)
	out, err := oak(t, "", "logs", "curl", "--tail", "5", "--since", "10m")
	if err != nil || out != "s2/0 since=10m0s&tail=5\nlast" {
		t.Errorf("%q %v", out, err)
	}
	out, err = oak(t, "", "logs", "shop.test.nginx.test/0", "-f")
	if err != nil || out != "s1/0 follow=true\nlast" {
		t.Errorf("%q %v", out, err)
	}
	for _, follow := range []bool{false, true} {
		args := []string{"logs", "nginx"}
		if follow {
			args = append(args, "-f")
		}
		out, err = oak(t, "", args...)
		for _, line := range []string{"[nginx/0] s1/0 ", "[nginx/2] s1/2 ", "[nginx/0] last\n", "[nginx/2] last\n"} {
			if !strings.Contains(out, line) {
				t.Errorf("follow %v: no %q in %q", follow, line, out)
			}
		}
		if err == nil || err.Error() != "instance 2: worker w1 is lost" {
			t.Errorf("follow %v: %v", follow, err)
		}
	}
	out, err = oak(t, "", "logs", "curl/0", "--json")
	if want := `{"service":"shop.test.curl.test","instance_number":0,"line":"last"}`; err != nil || strings.Split(out, "\n")[1] != want {
		t.Errorf("%q %v", out, err)
	}
	for words, want := range map[string]string{
		"logs curl/x": "instance number", "logs curl/-1": "instance number", "logs curl --tail 0": "--tail 0", "logs curl --since 0s": "--since", "logs nobody": `no service "nobody"`,
		"logs empty": "has no instances", "logs": "accepts 1 arg",
	} {
		if out, err := oak(t, "", strings.Fields(words)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("oak %s: %v %q", words, err, out)
		}
	}
}

func TestALineThatIsLongIsPrintedInParts(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out, label: "x"}
	if err := p.copy(1, strings.NewReader(strings.Repeat("a", 100<<10)+"\nb\n")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "a"); got != 100<<10 || !strings.HasSuffix(out.String(), "\n[x/1] b\n") {
		t.Errorf("%d bytes, %q", got, out.String()[out.Len()-20:])
	}
}

func TestExecFromTheCommandLine(t *testing.T) {
	scriptedRoot(t)
	out, err := oak(t, "typed", "exec", "curl", "--", "sh", "-c", "echo x")
	var code exitCode
	if out != `["sh" "-c" "echo x"] stdin= tty=`+"\n" || !errors.As(err, &code) || code != 7 {
		t.Errorf("%q %v", out, err)
	}
	out, err = oak(t, "typed", "exec", "nginx/2", "-it", "--", "true")
	if out != `["true"] stdin=true tty=`+"\ntyped" || err != nil { // no terminal to type at
		t.Errorf("%q %v", out, err)
	}
	if out, err = oak(t, "", "exec", "curl", "-t", "--", "true"); out != `["true"] stdin= tty=true`+"\n" || err != nil {
		t.Errorf("%q %v", out, err)
	}
	for words, want := range map[string]string{
		"exec nginx -- ls": "say which, such as nginx/0", "exec curl/0 -- nonsense": `no program "nonsense"`, "exec curl/0 -- lost": "worker w1 is lost",
		"exec curl/0 -- cut": "the connection to the root broke off", "exec curl/0": "requires at least 2 arg", "exec empty -- ls": "has no instances",
	} {
		if out, err := oak(t, "", strings.Fields(words)...); err == nil || errors.As(err, &code) || !strings.Contains(err.Error(), want) || strings.HasSuffix(err.Error(), ": unavailable") {
			t.Errorf("oak %s: %v %q", words, err, out)
		}
	}
	if _, err := oak(t, "", "exec", "curl/0", "--", "echo", strings.Repeat("/", 21<<10)); err == nil || !strings.Contains(err.Error(), "at most 61440") {
		t.Errorf("much: %v", err)
	}
	c := newClient("http://127.0.0.1:1")
	if err := c.exec(t.Context(), "s2", 0, []string{"ls"}, console{fd: -1}); err == nil || !strings.HasPrefix(err.Error(), "no answer from the root: ") || strings.HasSuffix(err.Error(), ": unavailable") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestServicesAreCompleted(t *testing.T) {
	scriptedRoot(t)
	for begun, want := range map[string]string{"": "nginx curl empty", "ng": "nginx", "nginx/": "nginx/0 nginx/2", "shop.test.c": "shop.test.curl.test", "x": ""} {
		out, err := oak(t, "", cobra.ShellCompNoDescRequestCmd, "logs", begun)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range strings.Fields(out) {
			if !strings.HasPrefix(line, ":") && (begun != "" || !strings.Contains(line, ".")) {
				got = append(got, line)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q is completed to %q, want %q", begun, got, want)
		}
	}
}

// terminal is a pair: who sits at it, and what a program has as its input.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}

func resize(t *testing.T, f *os.File, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
}

// screen is an output that somebody reads.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *screen) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(b)
}

func (h *screen) has(t *testing.T, word string) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !strings.Contains(h.b.String(), word) {
			return fmt.Errorf("no %q in %q", word, h.b.String())
		}
		return nil
	})
}

// At a terminal every key goes to the command, Ctrl-C too, and its size follows;
// afterwards the terminal is as before.
func TestExecAtATerminal(t *testing.T) {
	scriptedRoot(t)
	user, program := terminal(t)
	resize(t, user, 80, 24)
	before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	out := &screen{}
	c := newClient(os.Getenv("OAK_ROOT"))
	c.token = "token"
	at := console{stdin: true, tty: true, in: program, fd: int(program.Fd()), out: out, stderr: io.Discard}
	done := make(chan error, 1)
	go func() { done <- c.exec(t.Context(), "s2", 0, []string{"true"}, at) }()
	out.has(t, "stdin=true tty=true")
	out.has(t, "<80x24>")
	if _, err := user.WriteString("a\x03"); err != nil {
		t.Fatal(err)
	}
	out.has(t, "a\x03")
	resize(t, user, 100, 30)
	out.has(t, "<100x30>")
	now, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || now.Lflag&unix.ICANON != 0 {
		t.Errorf("the terminal is not raw: %v", err)
	}
	if _, err := user.WriteString("\x04"); err != nil { // Ctrl-D, upon which the command ends
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || after.Lflag != before.Lflag || after.Iflag != before.Iflag || after.Oflag != before.Oflag {
		t.Errorf("the terminal was %+v, is %+v, %v", before, after, err)
	}
}
