package containerd

import (
	"context"
	"errors"
	"strings"

	options "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
)

// commandPrefix begins the names of what Exec runs.
const commandPrefix = "exec-"

// EndCommands kills what Exec of another Engine has begun: of an earlier process
// that was killed. Nobody hears it any more.
func (e *Engine) EndCommands(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	all, err := e.client.Containers(ctx)
	if err != nil {
		return classed("list containers", err)
	}
	var failed []error
	for _, c := range all {
		task, err := c.Task(ctx, nil)
		if err != nil {
			continue // nothing can run in it
		}
		pids, err := task.Pids(ctx)
		if err != nil {
			continue // it has ended
		}
		for _, p := range pids {
			if err := e.endCommand(ctx, task, p); err != nil {
				failed = append(failed, classed("end a command of "+c.ID(), err))
			}
		}
	}
	return errors.Join(failed...)
}

func (e *Engine) endCommand(ctx context.Context, task client.Task, p client.ProcessInfo) error {
	if p.Info == nil {
		return nil
	}
	v, err := typeurl.UnmarshalAny(p.Info)
	if err != nil {
		return nil // of another kind of shim
	}
	d, ok := v.(*options.ProcessDetails)
	if !ok || !strings.HasPrefix(d.GetExecID(), commandPrefix) || strings.HasPrefix(d.GetExecID(), e.commands) {
		return nil
	}
	old, err := task.LoadProcess(ctx, d.GetExecID(), nil)
	if err != nil {
		return ignoreGone(err)
	}
	e.log.Info("a command of before is ended", "container", task.ID(), "pid", p.Pid)
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	exited, err := old.Wait(ctx)
	if err != nil {
		return ignoreGone(err)
	}
	if err := old.Kill(ctx, sigKill); err != nil {
		return ignoreGone(err)
	}
	<-exited // also when ctx ends
	_, err = old.Delete(ctx)
	return ignoreGone(err)
}

func ignoreGone(err error) error {
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
