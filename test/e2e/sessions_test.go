package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"oakestra/test/site"
)

// TestSessions reads logs and runs commands with oak from outside, over root,
// cluster and worker, and takes each of them away.
func TestSessions(t *testing.T) {
	w := &talk{Site: site.Start(t)}
	step := func(name string, f func(*talk)) {
		ok := t.Run(name, func(t *testing.T) {
			w.T = t
			f(w)
		})
		if w.T = t; !ok {
			t.FailNow()
		}
	}
	_, w.ids = w.DeploySeed()
	step("logs and their last lines", (*talk).logs)
	step("a log is followed", (*talk).follows)
	step("a command has output, input and an exit code", (*talk).commands)
	step("what cannot be is refused before it begins", (*talk).refused)
	step("instances side by side, and the end of one", (*talk).sideBySide)
	step("a reader that stops holds the command, and delays no heartbeat", (*talk).backPressure)
	step("a command ends with its user", (*talk).hangUp)
	step("a command that does not read holds its user, and ends with it", (*talk).jammed)
	step("a NodeEngine that ends says so", (*talk).engineEnds)
	step("a worker that is cut off ends its sessions", (*talk).cutOff)
	step("every session is in the audit, and no output", (*talk).audited)
}

type talk struct {
	*site.Site
	ids map[string]string
}

// oak is a command on the machine outside.
func (w *talk) oak(ctx context.Context, args ...string) *exec.Cmd {
	cmd := w.Lab.Host("outside").Command(ctx, w.Program("oak"), args...)
	cmd.Env = append(os.Environ(), "OAK_ROOT=http://"+w.Lab.Host("root").Addr+":10000", "OAK_USER=Admin", "OAK_PASSWORD=Admin")
	return cmd
}

// run runs oak to its end and returns output, errors and exit code.
func (w *talk) run(stdin string, args ...string) (out, stderr string, code int) {
	w.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := w.oak(ctx, args...)
	var a, b bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &a, &b
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.T.Fatalf("oak %v: %v", args, err)
	}
	return a.String(), b.String(), cmd.ProcessState.ExitCode()
}

// ask makes nginx write a line with a word.
func (w *talk) ask(word string) {
	w.T.Helper()
	box, err := w.Container(w.ids["curl"], 0)
	if err != nil {
		w.T.Fatal(err)
	}
	w.Eventually("nginx answers", 15*time.Second, func() error {
		out, err := w.Inside(box, "curl", "-sS", "-m", "5", "http://10.30.30.30/"+word).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (w *talk) logs() {
	w.ask("first")
	w.ask("second")
	out, stderr, code := w.run("", "logs", "nginx")
	if code != 0 || !strings.Contains(out, "GET /first ") || !strings.Contains(out, "GET /second ") || strings.Contains(out, "[nginx/0]") {
		w.T.Errorf("exit %d: %q %q", code, out, stderr)
	}
	out, _, code = w.run("", "logs", "clientsrvr.test.nginx.test/0", "--tail", "1")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "GET /second ") {
		w.T.Errorf("the last line, exit %d: %q", code, out)
	}
	if out, _, code = w.run("", "logs", "nginx", "--tail", "1", "--json"); code != 0 || !strings.Contains(out, `"instance_number":0,"line":"`) {
		w.T.Errorf("as JSON, exit %d: %q", code, out)
	}
	if out, _, code = w.run("", "logs", "nginx", "--since", "1h"); code != 0 || !strings.Contains(out, "GET /first ") {
		w.T.Errorf("of the last hour, exit %d: %q", code, out)
	}
	code, body, err := w.Curl("GET", "/api/service/"+w.ids["nginx"]+"/instance/0/logs?tail=1", "")
	if err != nil || code != 200 || !strings.Contains(body, "GET /second ") {
		w.T.Errorf("with curl: %d %v %q", code, err, body)
	}
}

// follower is an oak that goes on.
type follower struct {
	*exec.Cmd
	mu   sync.Mutex
	out  bytes.Buffer
	err  bytes.Buffer
	done chan struct{}
}

func (f *follower) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(b)
}

func (f *follower) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.String()
}

func (w *talk) begin(args ...string) *follower {
	w.T.Helper()
	return w.typing(nil, args...)
}

// typing starts oak with an input.
func (w *talk) typing(in io.Reader, args ...string) *follower {
	w.T.Helper()
	f := &follower{Cmd: w.oak(context.Background(), args...), done: make(chan struct{})}
	f.Stdin = in
	f.Stdout, f.Stderr = f, &f.err
	if err := f.Start(); err != nil {
		w.T.Fatal(err)
	}
	go func() { _ = f.Wait(); close(f.done) }()
	w.T.Cleanup(func() { _ = f.Process.Kill(); <-f.done })
	return f
}

func (w *talk) shows(f *follower, word string) {
	w.T.Helper()
	w.Eventually("oak shows "+word, 15*time.Second, func() error {
		if text := f.text(); !strings.Contains(text, word) {
			return fmt.Errorf("only %q", text)
		}
		return nil
	})
}

// ends waits for the end, which says a word, "" for nothing.
func (w *talk) ends(f *follower, within time.Duration, code int, word string) {
	w.T.Helper()
	began := time.Now()
	select {
	case <-f.done:
	case <-time.After(within):
		w.T.Fatalf("it goes on after %s: %q", within, f.text())
	}
	if got := f.ProcessState.ExitCode(); got != code || !strings.Contains(f.err.String(), word) || word == "" && f.err.Len() > 0 {
		w.T.Errorf("exit %d, %q; want %d and %q", got, f.err.String(), code, word)
	}
	w.T.Logf("ended after %s: %s", time.Since(began).Round(100*time.Millisecond), strings.TrimSpace(f.err.String()))
}

func (w *talk) follows() {
	f := w.begin("logs", "nginx/0", "-f", "--tail", "1")
	w.shows(f, "GET /second ")
	w.ask("third")
	w.shows(f, "GET /third ")
	if strings.Contains(f.text(), "GET /first ") {
		w.T.Errorf("more than the last line: %q", f.text())
	}
	_ = f.Process.Signal(os.Interrupt)
	w.ends(f, 10*time.Second, 0, "")
}

func (w *talk) commands() {
	out, stderr, code := w.run("", "exec", "curl/0", "--", "sh", "-c", "echo out; echo wrong >&2; exit 7")
	if out != "out\n" || stderr != "wrong\n" || code != 7 {
		w.T.Errorf("%q %q exit %d", out, stderr, code)
	}
	big := strings.Repeat("0123456789abcde\n", 1<<16) // 1 MiB, both ways
	out, stderr, code = w.run(big, "exec", "-i", "curl", "--", "cat")
	if out != big || code != 0 {
		w.T.Errorf("%d bytes of %d came back, exit %d, %q", len(out), len(big), code, stderr)
	}
	if out, stderr, code = w.run("", "exec", "curl/0", "-t", "--", "sh", "-c", "test -t 1 && id -un"); code != 0 || strings.TrimSpace(out) != "curl_user" {
		w.T.Errorf("with a terminal: %q %q exit %d", out, stderr, code)
	}
}

func (w *talk) refused() {
	for _, c := range []struct{ args, word string }{
		{"exec curl/0 -- nonsense", "no program"}, {"exec curl/9 -- ls", "not found"}, {"logs curl/9", "not found"}, {"logs nobody", "no service"}, {"logs curl/x", "instance number"},
	} {
		if out, stderr, code := w.run("", strings.Fields(c.args)...); code != 1 || !strings.Contains(stderr, c.word) {
			w.T.Errorf("oak %s: exit %d, %q %q; want %q", c.args, code, out, stderr, c.word)
		}
	}
	if code, body, err := w.Curl("GET", "/api/service/"+w.ids["curl"]+"/instance/0/exec?command=ls", ""); err != nil || code != 422 {
		w.T.Errorf("exec without a WebSocket: %d %v %s", code, err, body)
	}
}

func (w *talk) sideBySide() {
	w.Must("POST", "/api/service/"+w.ids["nginx"]+"/instance", "")
	w.WaitRunning(w.ids["nginx"], 2)
	for _, n := range []string{"0", "1"} {
		if _, stderr, code := w.run("", "exec", "nginx/"+n, "--", "/usr/sbin/nginx", "-v"); code != 0 || !strings.Contains(stderr, "nginx version") {
			w.T.Errorf("instance %s: exit %d %q", n, code, stderr)
		}
	}
	f := w.begin("logs", "nginx", "-f")
	w.shows(f, "[nginx/0] ")
	w.Eventually("both have written", 20*time.Second, func() error {
		w.ask("both")
		if text := f.text(); !strings.Contains(text, "[nginx/1] ") {
			return fmt.Errorf("only %q", text)
		}
		return nil
	})
	one := w.begin("logs", "nginx/1", "-f")
	w.shows(one, "GET /both ")
	w.Must("DELETE", "/api/service/"+w.ids["nginx"]+"/instance/1", "")
	w.ends(one, 30*time.Second, 0, "")
}

// backPressure lets a command write as fast as it can to a reader that stands
// still.
func (w *talk) backPressure() {
	before := w.rss()
	f := w.begin("exec", "curl/0", "--", "cat", "/dev/zero")
	w.Eventually("it writes", 10*time.Second, func() error {
		if len(f.text()) < 8<<20 {
			return errors.New("not yet")
		}
		return nil
	})
	_ = f.Process.Signal(syscall.SIGSTOP)
	time.Sleep(12 * time.Second) // long enough for buffers that grow, and for a worker or cluster to be lost
	after := w.rss()
	w.T.Logf("memory before %v MiB, after %v MiB", before, after)
	for name, was := range before {
		if after[name] > was+48 {
			w.T.Errorf("%s grew from %d to %d MiB", name, was, after[name])
		}
	}
	for _, of := range []string{"/api/cluster/" + w.ClusterID("field")} {
		for _, e := range w.Events(of) {
			if e.Reason == "Left" || e.Reason == "Lost" {
				w.T.Errorf("%s: %s", e.Reason, e.Message)
			}
		}
	}
	_ = f.Process.Kill()
	<-f.done
	w.gone("cat /dev/zero")
}

// rss is the resident memory of the daemons on the way, in MiB.
func (w *talk) rss() map[string]int {
	w.T.Helper()
	worker := w.Service(w.ids["curl"]).Instances[0].Worker
	out := map[string]int{}
	for name, pid := range map[string]int{"root": w.Root.Pid(), "cluster": w.Cluster.Pid(), "worker": w.Engine[worker].Pid()} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			w.T.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var kib int
			if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
				out[name] = kib >> 10
			}
		}
	}
	return out
}

// gone waits until no process of curl's container has a command line.
func (w *talk) gone(line string) {
	w.T.Helper()
	w.Eventually(line+" is killed", 40*time.Second, func() error {
		out, _, _ := w.run("", "exec", "curl/0", "--", "ps")
		if strings.Contains(out, line) {
			return errors.New(out)
		}
		return nil
	})
}

func (w *talk) hangUp() {
	f := w.begin("exec", "curl/0", "--", "sleep", "4711")
	w.Eventually("it runs", 10*time.Second, func() error {
		if out, _, _ := w.run("", "exec", "curl/0", "--", "ps"); !strings.Contains(out, "sleep 4711") {
			return errors.New(out)
		}
		return nil
	})
	_ = f.Process.Kill()
	<-f.done
	w.gone("sleep 4711")
}

// jammed has two commands that do not read their input: one reads all of it
// after longer than a ping and its limit take, the user of the other is killed
// while the buffers on the way are full.
func (w *talk) jammed() {
	const size = 8 << 20
	slow := w.typing(bytes.NewReader(make([]byte, size)), "exec", "curl/0", "-i", "--", "sh", "-c", "sleep 32; wc -c")
	zero, err := os.Open("/dev/zero")
	if err != nil {
		w.T.Fatal(err)
	}
	defer zero.Close()
	f := w.typing(zero, "exec", "curl/0", "-i", "--", "sleep", "4712")
	read, since := "", time.Now()
	w.Eventually("what is typed finds no room", 30*time.Second, func() error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", f.Process.Pid))
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		if line != read {
			read, since = line, time.Now()
		}
		if took, _ := strconv.Atoi(strings.TrimPrefix(line, "rchar: ")); took < 1<<20 || time.Since(since) < 3*time.Second {
			return fmt.Errorf("oak has read %s", line)
		}
		return nil
	})
	_ = f.Process.Kill()
	<-f.done
	began := time.Now()
	w.gone("sleep 4712")
	w.T.Logf("the command was gone %s after its user, who had read %s", time.Since(began).Round(time.Millisecond), read)
	w.ends(slow, 60*time.Second, 0, "")
	if text := slow.text(); strings.TrimSpace(text) != strconv.Itoa(size) {
		w.T.Errorf("of %d bytes the command has read %q", size, text)
	}
}

func (w *talk) engineEnds() {
	worker := w.Service(w.ids["nginx"]).Instances[0].Worker
	f := w.begin("logs", "nginx/0", "-f", "--tail", "1")
	w.shows(f, "GET /")
	w.Engine[worker].Kill()
	w.ends(f, 20*time.Second, 1, "worker "+worker+" has broken the session off")
	w.Engine[worker].Again()
	w.WaitWorkers(30*time.Second, worker)
	w.ask("again")
	w.Eventually("the log goes on", 20*time.Second, func() error {
		if out, stderr, code := w.run("", "logs", "nginx/0", "--tail", "1"); code != 0 || !strings.Contains(out, "GET /again ") {
			return fmt.Errorf("exit %d %q %q", code, out, stderr)
		}
		return nil
	})
}

func (w *talk) cutOff() {
	worker := w.Service(w.ids["nginx"]).Instances[0].Worker
	f := w.begin("logs", "nginx/0", "-f", "--tail", "1")
	w.shows(f, "GET /")
	w.Cut(worker)
	w.ends(f, 40*time.Second, 1, "worker "+worker+" is lost")
	w.Heal(worker)
	w.WaitWorkers(60*time.Second, worker)
}

func (w *talk) audited() {
	log := w.Root.Log()
	for _, want := range []string{"action=exec", "program=sleep", "action=logs", "event=begin", "event=end", "exit_code=7", "user=Admin"} {
		if !strings.Contains(log, want) {
			w.T.Errorf("the root's log has no %s", want)
		}
	}
	for _, line := range strings.Split(log, "\n") {
		if strings.Contains(line, "msg=audit") && (strings.Contains(line, "4711") || strings.Contains(line, "wrong")) {
			w.T.Errorf("arguments or output in the audit: %s", line)
		}
	}
}
