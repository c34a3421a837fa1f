package fakeruntime

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// Print adds to the output of a container, as if it had said so.
func (f *Fake) Print(id, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.output[id] = append(f.output[id], text...)
	f.moved(id)
}

// moved wakes who waits for a container. The caller holds mu.
func (f *Fake) moved(id string) {
	if c := f.written[id]; c != nil {
		close(c)
		delete(f.written, id)
	}
}

// first is what a container says when it starts. The caller holds mu.
func (f *Fake) first(c runtime.Container) {
	if a := c.Spec.Command; len(a) == 3 && a[0] == "sh" && a[1] == "-c" {
		for s := range strings.SplitSeq(a[2], ";") {
			if text, ok := strings.CutPrefix(strings.TrimSpace(s), "echo "); ok {
				f.output[c.Spec.ID()] = append(f.output[c.Spec.ID()], text+"\n"...)
			}
		}
	}
	f.moved(c.Spec.ID())
}

// OpenLog reads what was printed. Times are not kept: Since is ignored.
func (f *Fake) OpenLog(ctx context.Context, id string, q runtime.LogQuery) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, there := f.output[id]
	if !there {
		return nil, fmt.Errorf("no output of %s is kept here: %w", id, errs.NotFound)
	}
	at := 0
	if q.Tail > 0 {
		lines := bytes.SplitAfter(bytes.TrimSuffix(all, []byte("\n")), []byte("\n"))
		for _, l := range lines[:max(0, len(lines)-int(q.Tail))] {
			at += len(l)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	return &reader{f: f, ctx: ctx, cancel: cancel, id: id, at: at, follow: q.Follow}, nil
}

type reader struct {
	f      *Fake
	ctx    context.Context
	cancel context.CancelFunc
	id     string
	at     int
	follow bool
}

// Read waits for more while the container runs.
func (r *reader) Read(b []byte) (int, error) {
	for {
		n, over, wake := r.more(b)
		if n > 0 {
			return n, nil
		}
		if over {
			return 0, io.EOF
		}
		select {
		case <-wake:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

func (r *reader) more(b []byte) (n int, over bool, wake chan struct{}) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	out := r.f.output[r.id]
	n = copy(b, out[min(r.at, len(out)):])
	r.at += n
	if r.f.written[r.id] == nil {
		r.f.written[r.id] = make(chan struct{})
	}
	c, there := r.f.containers[r.id]
	over = !r.follow || !there || c.Phase == runtime.Exited
	return n, over, r.f.written[r.id]
}

// Close ends a Read that waits.
func (r *reader) Close() error {
	r.cancel()
	return nil
}

// Exec knows echo, cat, sleep (until it is killed), and sh -c with those, with
// "exit N", "read X" and "stty size", divided by ";".
func (f *Fake) Exec(ctx context.Context, id string, c runtime.Command) (int, error) {
	f.mu.Lock()
	k, there := f.containers[id]
	f.calls = append(f.calls, "Exec "+id+" "+strings.Join(c.Args, " "))
	f.mu.Unlock()
	switch {
	case len(c.Args) == 0:
		return 0, fmt.Errorf("exec in %s: no command: %w", id, errs.Invalid)
	case !there:
		return 0, fmt.Errorf("container %s: %w", id, errs.NotFound)
	case k.Phase != runtime.Running:
		return 0, fmt.Errorf("the container of %s is %s, a command needs a running one: %w", id, k.Phase, errs.Conflict)
	}
	script := []string{strings.Join(c.Args, " ")}
	if len(c.Args) == 3 && c.Args[0] == "sh" && c.Args[1] == "-c" {
		script = strings.Split(c.Args[2], ";")
	} else if word := c.Args[0]; word != "echo" && word != "cat" && word != "sleep" {
		return 0, fmt.Errorf("the container has no program %q that can be run: %w", word, errs.NotFound)
	}
	if c.Started != nil {
		c.Started()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &terminal{size: c.Size}
	go t.follow(ctx, c.Resize)
	for _, s := range script {
		if code, over, err := f.statement(ctx, id, strings.TrimSpace(s), &c, t); over || err != nil {
			return code, err
		}
	}
	return 0, ctx.Err()
}

// terminal has a size.
type terminal struct {
	mu   sync.Mutex
	size runtime.Size
}

func (t *terminal) follow(ctx context.Context, resize <-chan runtime.Size) {
	for {
		select {
		case s := <-resize:
			t.mu.Lock()
			t.size = s
			t.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func (t *terminal) now() runtime.Size {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size
}

// statement runs one.
func (f *Fake) statement(ctx context.Context, id, s string, c *runtime.Command, t *terminal) (code int, over bool, err error) {
	word, rest, _ := strings.Cut(s, " ")
	switch word {
	case "echo":
		switch text, to, _ := strings.Cut(rest, " >"); to {
		case "&2":
			_, err = io.WriteString(c.Stderr, text+"\n")
		case " /proc/1/fd/1":
			f.Print(id, text+"\n")
		default:
			_, err = io.WriteString(c.Stdout, rest+"\n")
		}
	case "cat":
		if c.Stdin != nil {
			_, err = io.Copy(c.Stdout, c.Stdin)
		}
	case "read":
		_, err = c.Stdin.Read(make([]byte, 1024))
	case "stty":
		now := t.now()
		_, err = fmt.Fprintf(c.Stdout, "%d %d\n", now.Rows, now.Columns)
	case "sleep":
		<-ctx.Done()
		err = ctx.Err()
	case "exit":
		code, err = strconv.Atoi(rest)
		over = true
	}
	return code, over, err
}
