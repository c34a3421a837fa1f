package runtime

import (
	"context"
	"fmt"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Spec is an assignment: all that is needed to run one attempt. It is kept as
// JSON beside the container, so fields are only ever added.
type Spec struct {
	Node        string          `json:"node"` // id of this worker; part of the cgroup's path
	Service     model.ServiceID `json:"service"`
	Number      int             `json:"number"`
	Grant       instance.Grant  `json:"grant"`
	Try         uint32          `json:"try"`
	JobName     string          `json:"job_name"` // app.namespace.service.namespace
	Technology  string          `json:"technology"`
	Image       string          `json:"image"`
	Command     []string        `json:"command,omitempty"`     // not empty: replaces entrypoint and command of the image
	Environment []string        `json:"environment,omitempty"` // K=V
	MilliCPU    int64           `json:"milli_cpu,omitempty"`   // shares, 1000 = one core; 0 = the default
	MemoryMB    int64           `json:"memory_mb,omitempty"`   // limit in MiB; 0 = none
	GPUs        int64           `json:"gpus,omitempty"`
	OneShot     bool            `json:"one_shot,omitempty"`
	Ports       string          `json:"ports,omitempty"` // as the user wrote them
	InstanceIP  string          `json:"instance_ip,omitempty"`
	ServiceIP   string          `json:"service_ip,omitempty"`
	Tenant      string          `json:"tenant,omitempty"`
	DNS         string          `json:"dns,omitempty"` // resolver for the container, "" = the host's
}

// Attempt names the run this is the assignment of.
func (s Spec) Attempt() instance.Attempt {
	return instance.Attempt{
		Instance: model.InstanceID{Service: s.Service, Number: s.Number},
		Epoch:    instance.Epoch{Grant: s.Grant, Try: s.Try},
	}
}

// ID is the container's id: "<service>-<number>-<grant in hex>-<try>".
func (s Spec) ID() string {
	return fmt.Sprintf("%s-%d-%x-%d", s.Service, s.Number, uint64(s.Grant), s.Try)
}

// Phase is what a container is doing now.
type Phase uint8

// The phases. A container without a task was made before the machine booted,
// or its creation was interrupted.
const (
	NoTask  Phase = iota
	Ready         // the task is there and waits for Start
	Running       // it executes
	Exited        // it ended; Exit tells how
)

// String is the phase for logs.
func (p Phase) String() string { return [...]string{"no task", "ready", "running", "exited"}[p&3] }

// Container is one container as the runtime sees it.
type Container struct {
	Spec  Spec
	Phase Phase
	Pid   uint32 // of the first process, 0 without a task
	Exit  int32  // meaningful when Exited
}

// Stats is what a container uses.
type Stats struct {
	CPUSeconds  float64 // since it started
	MemoryBytes int64
	DiskBytes   int64
	LogTail     string // the last KiB of its output
}

// Runtime runs containers. Every method may be called from any goroutine and
// is idempotent: making what is there and removing what is gone are no errors.
// Errors carry a class of pkg/errs.
type Runtime interface {
	// Pull fetches an image unless it is there. errs.NotFound: no registry has it.
	// progress may be nil and may block for as long as other calls take: none
	// of them waits for it. It may also be called after Pull was cut off.
	Pull(ctx context.Context, image string, progress func(string)) error
	// Create makes the container and its task without starting it, so that its
	// network can be attached by pid. A container without a task gets one.
	Create(ctx context.Context, s Spec) (Container, error)
	// Start executes a task that is Ready.
	Start(ctx context.Context, id string) error
	// Stop sends TERM, waits for grace, then KILL; it returns when the task has exited.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove removes task, snapshot and container; with logs also its output.
	Remove(ctx context.Context, id string, logs bool) error
	// List returns every container of this NodeEngine.
	List(ctx context.Context) ([]Container, error)
	// Watch calls ring after anything may have changed, until ctx ends or the
	// runtime goes away. Events are not replayed: List after Watch begins.
	Watch(ctx context.Context, ring func()) error
	// Stats reads usage and output of one container.
	Stats(ctx context.Context, s Spec) (Stats, error)
}
