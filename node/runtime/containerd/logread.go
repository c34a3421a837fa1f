package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// How often one who follows looks for more output, and whether the container
// still runs.
const (
	followEvery = 200 * time.Millisecond
	lookEvery   = time.Second
)

// OpenLog opens the output of an attempt, rotated parts first.
func (e *Engine) OpenLog(ctx context.Context, id string, q runtime.LogQuery) (io.ReadCloser, error) {
	path := e.LogPath(id)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no output of %s is kept here: %w", id, errs.NotFound)
	} else if err != nil {
		return nil, fmt.Errorf("output of %s: %w: %w", id, err, errs.Internal)
	}
	f := e.logs.of(id, path)
	first, end := f.span()
	if !q.Since.IsZero() {
		first = min(f.since(q.Since), end)
	}
	if q.Tail > 0 {
		var err error
		if first, err = f.tail(q.Tail, first, end); err != nil {
			return nil, fmt.Errorf("output of %s: %w: %w", id, err, errs.Internal)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &logReader{ctx: ctx, cancel: cancel, file: f, place: first, end: end}
	if q.Follow {
		r.runs = func(ctx context.Context) bool { return e.runs(ctx, id) }
	}
	return r, nil
}

// runs says whether more output may come. A daemon that does not answer proves
// nothing.
func (e *Engine) runs(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, Namespace), 5*time.Second)
	defer cancel()
	r, err := e.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: id})
	if err != nil {
		return !errdefs.IsNotFound(errgrpc.ToNative(err))
	}
	return r.GetProcess().GetStatus() != tasktypes.Status_STOPPED
}

// logReader reads a log on; one goroutine reads.
type logReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	file   *logFile
	runs   func(context.Context) bool // nil: until end
	end    int64
	place  int64
	looked time.Time
	ended  bool
	skip   []byte // said in place of what is not kept any more
}

// Read waits for output as long as the container runs.
func (r *logReader) Read(b []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if len(r.skip) > 0 {
			n := copy(b, r.skip)
			r.skip = r.skip[n:]
			return n, nil
		}
		n, err := r.more(b)
		if n > 0 || err != nil {
			return n, err
		}
		if len(r.skip) > 0 {
			continue
		}
		if r.runs == nil || r.ended {
			return 0, io.EOF
		}
		if time.Since(r.looked) >= lookEvery {
			r.looked = time.Now()
			if r.ended = !r.runs(r.ctx); r.ended {
				continue // what it has written last
			}
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(followEvery):
		}
	}
}

// more reads what is there.
func (r *logReader) more(b []byte) (int, error) {
	if r.runs == nil {
		if r.place >= r.end {
			return 0, nil
		}
		b = b[:min(int64(len(b)), r.end-r.place)]
	}
	n, at, err := r.file.readAt(b, r.place)
	if err != nil {
		return 0, fmt.Errorf("read output: %w: %w", err, errs.Internal)
	}
	if r.runs == nil && at >= r.end { // all that was asked for is gone meanwhile
		r.place = r.end
		return 0, nil
	}
	if at > r.place {
		r.skip = fmt.Appendf(nil, "\n[%d bytes of output were written faster than they were read, and are not kept]\n", at-r.place)
		r.place = at
		return 0, nil
	}
	r.place = at + int64(n)
	return n, nil
}

// Close ends a Read that waits.
func (r *logReader) Close() error {
	r.cancel()
	return nil
}
