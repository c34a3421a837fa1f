package containerd

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// Exec runs a command inside a running container and returns its exit code.
// name must be unique among the commands that run in it.
func (e *Engine) Exec(ctx context.Context, id, name string, args []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	c, err := e.client.LoadContainer(ctx, id)
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	spec, err := c.Spec(ctx)
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	process := *spec.Process
	process.Args, process.Terminal = args, false
	fifos := cio.WithFIFODir(filepath.Join(e.cfg.Data, "fifo"))
	p, err := task.Exec(ctx, name, &process, cio.NewCreator(cio.WithStreams(stdin, stdout, stderr), fifos))
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	defer func() { _, _ = p.Delete(context.WithoutCancel(ctx), client.WithProcessKill) }()
	exited, err := p.Wait(ctx)
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	if err := p.Start(ctx); err != nil {
		return 0, classed(fmt.Sprintf("exec %q in %s", args, id), err)
	}
	status := <-exited
	p.IO().Wait()
	code, _, err := status.Result()
	if err != nil {
		return 0, classed("exec in "+id, err)
	}
	return int(code), nil
}
