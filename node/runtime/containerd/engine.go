package containerd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/singleflight"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// Namespace is the containerd namespace of everything made here.
const Namespace = "oakestra"

const (
	extension    = "oakestra.assignment"
	extensionURL = "oakestra/assignment/v1+json"
	labelPrefix  = "oakestra."
)

// Config says which containerd and where files lie.
type Config struct {
	Socket     string // of containerd
	Data       string // directory for logs and files of containers, absolute
	Registries Registries
	LogBytes   int64         // size at which a container's log rotates; default 8 MiB
	PullLimit  time.Duration // longest pull; default 15 min
	ByHand     bool          // its commands are a person's on this machine: EndCommands of another leaves them alone
}

// Engine implements runtime.Runtime.
type Engine struct {
	cfg    Config
	client *client.Client
	log    *slog.Logger
	pulls  singleflight.Group
	logs   logs
	// commands begins the names of what this Engine runs in containers.
	commands string

	mu          sync.Mutex
	snapshotter string // "" until asked for
}

var (
	_ runtime.Runtime = (*Engine)(nil)
	_ runtime.Console = (*Engine)(nil)
)

// New connects lazily: an absent daemon shows at the first call.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	if cfg.LogBytes == 0 {
		cfg.LogBytes = 8 << 20
	}
	if cfg.PullLimit == 0 {
		cfg.PullLimit = 15 * time.Minute
	}
	if !filepath.IsAbs(cfg.Data) {
		return nil, fmt.Errorf("data directory %q must be absolute: %w", cfg.Data, errs.Invalid)
	}
	c, err := client.New(cfg.Socket, client.WithDefaultNamespace(Namespace), client.WithTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w: %w", cfg.Socket, err, errs.Unavailable)
	}
	commands := commandPrefix + rand.Text() + "-"
	if cfg.ByHand {
		commands = "by-hand-"
	}
	return &Engine{cfg: cfg, client: c, log: log, commands: commands}, nil
}

// Close ends the connection; containers stay.
func (e *Engine) Close() error { return e.client.Close() }

// Version of the daemon; an error means that it does not answer.
func (e *Engine) Version(ctx context.Context) (string, error) {
	v, err := e.client.Version(ctx)
	if err != nil {
		return "", classed("ask containerd's version", err)
	}
	return v.Version, nil
}

// List returns every container in the namespace that carries an assignment.
func (e *Engine) List(ctx context.Context) ([]runtime.Container, error) {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	made, err := e.client.ContainerService().List(ctx)
	if err != nil {
		return nil, classed("list containers", err)
	}
	tasks, err := e.client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, classed("list tasks", err)
	}
	byID := make(map[string]*tasktypes.Process, len(tasks.Tasks))
	for _, t := range tasks.Tasks {
		byID[t.ID] = t
	}
	out := make([]runtime.Container, 0, len(made))
	for _, m := range made {
		spec, err := assignment(m)
		if err != nil {
			e.log.Debug("container without an assignment", "container", m.ID, "error", err)
			continue
		}
		c := runtime.Container{Spec: spec}
		if t := byID[m.ID]; t != nil {
			c.Pid, c.Phase, c.Exit = t.Pid, phase(t.Status), int32(t.ExitStatus)
		}
		out = append(out, c)
	}
	return out, nil
}

func phase(s tasktypes.Status) runtime.Phase {
	switch s {
	case tasktypes.Status_CREATED:
		return runtime.Ready
	case tasktypes.Status_STOPPED:
		return runtime.Exited
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED, tasktypes.Status_PAUSING, tasktypes.Status_UNKNOWN:
		return runtime.Running
	}
	return runtime.Running
}

func assignment(c containers.Container) (runtime.Spec, error) {
	var s runtime.Spec
	ext := c.Extensions[extension]
	if ext == nil {
		return s, fmt.Errorf("container %s: %w", c.ID, errs.NotFound)
	}
	if err := json.Unmarshal(ext.GetValue(), &s); err != nil {
		return s, fmt.Errorf("assignment of %s: %w: %w", c.ID, err, errs.Invalid)
	}
	if s.ID() != c.ID {
		return s, fmt.Errorf("container %s holds the assignment of %s: %w", c.ID, s.ID(), errs.Invalid)
	}
	return s, nil
}

// Watch rings on every event of the namespace's tasks and containers.
func (e *Engine) Watch(ctx context.Context, ring func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, failed := e.client.Subscribe(ctx, `namespace==`+Namespace+`,topic~="^/tasks/"`,
		`namespace==`+Namespace+`,topic~="^/containers/"`)
	ring()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if err == nil {
				err = errors.New("stream closed")
			}
			return classed("watch containerd", err)
		case <-events:
			ring()
		}
	}
}

// classed wraps an error of containerd with its class.
func classed(what string, err error) error {
	class := errs.Internal
	switch {
	case errdefs.IsNotFound(err):
		class = errs.NotFound
	case errdefs.IsInvalidArgument(err):
		class = errs.Invalid
	case errdefs.IsAlreadyExists(err), errdefs.IsConflict(err):
		class = errs.Conflict
	case errdefs.IsUnavailable(err), errdefs.IsDeadlineExceeded(err), errors.Is(err, context.DeadlineExceeded):
		class = errs.Unavailable
	}
	return fmt.Errorf("%s: %w: %w", what, err, class)
}
