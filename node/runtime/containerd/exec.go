package containerd

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// endWait is how long the output of a command that has ended may take to come:
// what it has left in the background may hold it open for ever.
const endWait = 2 * time.Second

// Exec runs a command inside a running container and returns its exit code.
func (e *Engine) Exec(ctx context.Context, id string, c runtime.Command) (int, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return 0, fmt.Errorf("exec in %s: no command: %w", id, errs.Invalid)
	}
	ctx = namespaces.WithNamespace(ctx, Namespace)
	task, spec, err := e.running(ctx, id)
	if err != nil {
		return 0, err
	}
	stdin, taken := &input{from: c.Stdin}, &pace{}
	c.Stdout, c.Stderr = taken.of(c.Stdout), taken.of(c.Stderr)
	p, err := task.Exec(ctx, e.commands+rand.Text(), process(spec, c), cio.NewCreator(e.streams(c, stdin)...))
	if err != nil {
		return 0, execError(id, c.Args, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
		defer cancel()
		_, _ = p.Delete(ctx, client.WithProcessKill)
	}()
	exited, err := p.Wait(context.WithoutCancel(ctx))
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	if err := p.Start(ctx); err != nil {
		return 0, execError(id, c.Args, err)
	}
	stdin.whenOver(func() { _ = p.CloseIO(context.WithoutCancel(ctx), client.WithStdinCloser) })
	if c.Started != nil {
		c.Started()
	}
	return attend(ctx, p, exited, c.Resize, taken)
}

// stopWait bounds the removal of a command that was cut off.
const stopWait = 10 * time.Second

// running finds the task of a container that runs.
func (e *Engine) running(ctx context.Context, id string) (client.Task, *specs.Process, error) {
	c, err := e.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil, nil, fmt.Errorf("the container of %s is not here any more: %w", id, errs.NotFound)
	}
	if err != nil {
		return nil, nil, classed("exec in "+id, err)
	}
	spec, err := c.Spec(ctx)
	if err != nil {
		return nil, nil, classed("exec in "+id, err)
	}
	task, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, nil, fmt.Errorf("the container of %s has ended, a command needs a running one: %w", id, errs.Conflict)
	}
	if err != nil {
		return nil, nil, classed("exec in "+id, err)
	}
	status, err := task.Status(ctx)
	if err != nil {
		return nil, nil, classed("exec in "+id, err)
	}
	if status.Status != client.Running {
		return nil, nil, fmt.Errorf("the container of %s is %s, a command needs a running one: %w", id, status.Status, errs.Conflict)
	}
	return task, spec.Process, nil
}

// process is the command as the container's own first process would run it.
func process(of *specs.Process, c runtime.Command) *specs.Process {
	p := *of
	p.Args, p.Terminal, p.ConsoleSize = c.Args, c.TTY, nil
	if !c.TTY {
		return &p
	}
	if c.Size != (runtime.Size{}) {
		p.ConsoleSize = &specs.Box{Height: uint(c.Size.Rows), Width: uint(c.Size.Columns)}
	}
	if !slices.ContainsFunc(p.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		p.Env = append(slices.Clone(p.Env), "TERM=xterm")
	}
	return &p
}

func (e *Engine) streams(c runtime.Command, stdin *input) []cio.Opt {
	var in io.Reader
	if c.Stdin != nil {
		in = stdin
	}
	opts := []cio.Opt{cio.WithFIFODir(filepath.Join(e.cfg.Data, "fifo"))}
	if c.TTY {
		return append(opts, cio.WithStreams(in, c.Stdout, nil), cio.WithTerminal)
	}
	return append(opts, cio.WithStreams(in, c.Stdout, c.Stderr))
}

// attend resizes the terminal until the command ends, or kills it when ctx does.
func attend(ctx context.Context, p client.Process, exited <-chan client.ExitStatus, resize <-chan runtime.Size, taken *pace) (int, error) {
	for {
		select {
		case <-ctx.Done():
			_ = p.Kill(context.WithoutCancel(ctx), sigKill)
			return 0, classed("exec", ctx.Err())
		case s := <-resize:
			_ = p.Resize(ctx, s.Columns, s.Rows) // it may just have ended
		case status := <-exited:
			outputComes(ctx, p, taken)
			code, _, err := status.Result()
			if err != nil {
				return 0, classed("exec", err)
			}
			return int(code), nil
		}
	}
}

// outputComes waits for the rest of the output, as long as somebody takes it.
func outputComes(ctx context.Context, p client.Process, taken *pace) {
	all := make(chan struct{})
	go func() { p.IO().Wait(); close(all) }()
	tick := time.NewTicker(endWait)
	defer tick.Stop()
	for last := taken.now(); ; {
		select {
		case <-all:
			return
		case <-ctx.Done():
			p.IO().Cancel()
			return
		case <-tick.C:
			if next := taken.now(); next.writing || next != last {
				last = next
				continue
			}
			p.IO().Cancel()
			return
		}
	}
}

// pace tells a reader that is slow from output that never comes.
type pace struct {
	mu sync.Mutex
	paceNow
}

type paceNow struct {
	writing bool
	writes  int
}

func (p *pace) now() paceNow {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paceNow
}

func (p *pace) set(writing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = writing
	p.writes++
}

// of is a writer whose pace is kept.
func (p *pace) of(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return writerFunc(func(b []byte) (int, error) {
		p.set(true)
		defer p.set(false)
		return w.Write(b)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// execError tells a program that is not there from a fault. The shim passes on
// what runc has printed, and there is nothing else to tell it by.
func execError(id string, args []string, err error) error {
	text := err.Error()
	for _, part := range []string{"no such file or directory", "executable file not found", "permission denied"} {
		if strings.Contains(text, part) && strings.Contains(text, "exec") {
			return fmt.Errorf("the container has no program %q that can be run: %w", args[0], errs.NotFound)
		}
	}
	return classed(fmt.Sprintf("exec %q in %s", args[0], id), err)
}

// input is the stdin of a command: it notes its end, so that the command can
// be told.
type input struct {
	from io.Reader
	mu   sync.Mutex
	over bool
	tell func()
}

// Read reads, and tells at the end.
func (i *input) Read(b []byte) (int, error) {
	n, err := i.from.Read(b)
	if err != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.over = true; i.tell != nil {
			i.tell()
			i.tell = nil
		}
	}
	return n, err
}

// whenOver calls f at the end, at once if it has been.
func (i *input) whenOver(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over {
		f()
		return
	}
	i.tell = f
}
