package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// Create makes snapshot, container and task. Once begun it goes on when ctx
// ends: a creation that is cut off leaves a process, a shim and a bundle that
// containerd 1.6 does not know of.
func (e *Engine) Create(ctx context.Context, s runtime.Spec) (runtime.Container, error) {
	if err := ctx.Err(); err != nil {
		return runtime.Container{}, classed("create container "+s.ID(), err)
	}
	ctx, cancel := uncut(ctx)
	defer cancel()
	c, err := e.client.LoadContainer(ctx, s.ID())
	found := err == nil
	if errdefs.IsNotFound(err) {
		c, err = e.makeContainer(ctx, s)
	}
	if err != nil {
		return runtime.Container{}, classed("create container "+s.ID(), err)
	}
	if !found { // it has no task, and a new one is ready: nothing need be asked
		return e.ready(ctx, c, s, false)
	}
	task, err := c.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return e.ready(ctx, c, s, true)
	}
	if err != nil {
		return runtime.Container{}, classed("create task "+s.ID(), err)
	}
	status, err := task.Status(ctx)
	if err != nil {
		return runtime.Container{}, classed("status of "+s.ID(), err)
	}
	out := runtime.Container{Spec: s, Pid: task.Pid(), Exit: int32(status.ExitStatus)}
	switch status.Status {
	case client.Created:
		out.Phase = runtime.Ready
	case client.Stopped:
		out.Phase = runtime.Exited
	default:
		out.Phase = runtime.Running
	}
	return out, nil
}

// ready makes the task of a container.
func (e *Engine) ready(ctx context.Context, c client.Container, s runtime.Spec, left bool) (runtime.Container, error) {
	task, err := e.makeTask(ctx, c, s, left)
	if err != nil {
		return runtime.Container{}, classed("create task "+s.ID(), err)
	}
	return runtime.Container{Spec: s, Pid: task.Pid(), Phase: runtime.Ready}, nil
}

func (e *Engine) makeContainer(ctx context.Context, s runtime.Spec) (client.Container, error) {
	ref, err := runtime.NormalizeImage(s.Image)
	if err != nil {
		return nil, err
	}
	snapshotter, err := e.chooseSnapshotter(ctx)
	if err != nil {
		return nil, err
	}
	image, err := e.client.GetImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	files, err := e.writeFiles(s)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	id := s.ID()
	keep := func(_ context.Context, _ *client.Client, c *containers.Container) error {
		if c.Extensions == nil {
			c.Extensions = map[string]typeurl.Any{}
		}
		c.Extensions[extension] = &anypb.Any{TypeUrl: extensionURL, Value: body}
		return nil
	}
	make := func() (client.Container, error) {
		return e.client.NewContainer(ctx, id,
			client.WithSnapshotter(snapshotter),
			client.WithImage(image),
			client.WithNewSnapshot(id, image),
			client.WithContainerLabels(map[string]string{
				labelPrefix + "service":  string(s.Service),
				labelPrefix + "instance": strconv.Itoa(s.Number),
				labelPrefix + "grant":    fmt.Sprintf("%x", uint64(s.Grant)),
				labelPrefix + "try":      strconv.FormatUint(uint64(s.Try), 10),
			}),
			client.WithNewSpec(ociOptions(s, image, files)...),
			keep)
	}
	c, err := make()
	if errdefs.IsAlreadyExists(err) {
		// A snapshot whose container was never recorded: the creation before
		// was cut off in between.
		if gone := e.client.SnapshotService(snapshotter).Remove(ctx, id); gone == nil {
			return make()
		}
	}
	return c, err
}

// makeTask makes the task of a container. left says that an earlier process
// made the container: it may have been killed in the middle of this, and
// containerd may still be busy with what it asked for.
func (e *Engine) makeTask(ctx context.Context, c client.Container, s runtime.Spec, left bool) (client.Task, error) {
	if err := os.MkdirAll(e.logDir(), 0o750); err != nil {
		return nil, err
	}
	tries := 1
	if left {
		if _, err := e.writeFiles(s); err != nil {
			return nil, err
		}
		tries = remakeTries
		e.sweep(s.ID(), cgroupPath(s))
	}
	for {
		task, err := c.NewTask(ctx, cio.LogFile(e.LogPath(s.ID())))
		if err == nil {
			return task, nil
		}
		e.sweep(s.ID(), cgroupPath(s))
		if tries--; tries == 0 {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(remakePause):
		}
	}
}

// Start executes the task. One that runs or has ended is left alone. As a
// creation it is not cut off.
func (e *Engine) Start(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return classed("start "+id, err)
	}
	ctx, cancel := uncut(ctx)
	defer cancel()
	// One call for what is so nearly always; questions only when it fails.
	_, err := e.client.TaskService().Start(ctx, &tasksapi.StartRequest{ContainerID: id})
	if err == nil {
		return nil
	}
	task, lookErr := e.task(ctx, id)
	if lookErr != nil {
		return classed("start "+id, lookErr)
	}
	status, lookErr := task.Status(ctx)
	if lookErr != nil {
		return classed("start "+id, lookErr)
	}
	if status.Status != client.Created {
		return nil
	}
	return classed("start "+id, errgrpc.ToNative(err))
}

func (e *Engine) task(ctx context.Context, id string) (client.Task, error) {
	c, err := e.client.LoadContainer(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.Task(ctx, nil)
}

// Stop sends TERM, then KILL after grace. A first process that does not handle
// TERM ignores it: the kernel protects the first one of a namespace.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	task, err := e.task(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return classed("stop "+id, err)
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	exited, err := task.Wait(inner)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return nil
		}
		return classed("stop "+id, err)
	}
	if grace > 0 {
		if err := task.Kill(ctx, sigTerm); gone(err) {
			return nil
		} else if err == nil {
			timer := time.NewTimer(grace)
			defer timer.Stop()
			select {
			case <-exited:
				return nil
			case <-timer.C:
			case <-ctx.Done():
				return classed("stop "+id, ctx.Err())
			}
		}
	}
	if err := task.Kill(ctx, sigKill, client.WithKillAll); gone(err) {
		return nil
	} else if err != nil {
		return classed("kill "+id, err)
	}
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
		return classed("stop "+id, ctx.Err())
	}
}

func gone(err error) bool { return errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) }

// Remove kills what still runs and removes all that Create made.
func (e *Engine) Remove(ctx context.Context, id string, logs bool) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	c, err := e.client.LoadContainer(ctx, id)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return classed("remove "+id, err)
	default:
		if err := e.removeContainer(ctx, c); err != nil {
			return classed("remove "+id, err)
		}
	}
	err = os.RemoveAll(e.filesDir(id))
	if logs {
		err = errors.Join(err, e.removeLogs(id))
	}
	if err != nil {
		return fmt.Errorf("remove files of %s: %w: %w", id, err, errs.Internal)
	}
	return nil
}

func (e *Engine) removeContainer(ctx context.Context, c client.Container) error {
	task, err := c.Task(ctx, nil)
	switch {
	case err == nil:
		if _, err = task.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	case !errdefs.IsNotFound(err):
		return err
	default:
		e.sweepOf(ctx, c)
	}
	if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
