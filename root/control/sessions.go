package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/session"
)

// SessionKind is what a session is for. A cluster names those it can serve
// among its abilities.
type SessionKind string

// The kinds.
const (
	Logs SessionKind = "logs"
	Exec SessionKind = "exec"
)

// Ask is what a user wants of an instance.
type Ask struct {
	Kind SessionKind

	// of Logs
	Follow bool
	Tail   int64         // the last so many lines; 0: all
	Since  time.Duration // only what is younger; 0: all

	// of Exec
	Command       []string
	Stdin, TTY    bool
	Columns, Rows uint32 // of the terminal, 0: not known
}

// Dialogs opens sessions with instances; clusters.Server does.
type Dialogs interface {
	// Attach opens one, which ends with ctx.
	Attach(ctx context.Context, cluster model.ClusterID, id model.InstanceID, a Ask) (session.Conn, error)
}

// Bounds of what one user may have open: many, and never so many that others
// find no place.
const (
	mostOfUser   = 64
	mostOnWorker = 16
)

// talks counts the open sessions of users, and of users at workers.
type talks struct {
	mu   sync.Mutex
	open map[talk]int
}

// talk is of a user; of one at a worker, when that is known.
type talk struct {
	user    string
	cluster model.ClusterID
	node    model.NodeID
}

func newTalks() *talks { return &talks{open: map[talk]int{}} }

// enter counts one more, and hands back its end.
func (t *talks) enter(user string, cluster model.ClusterID, node model.NodeID) (leave func(), err error) {
	all, there := talk{user: user}, talk{user, cluster, node}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.open[all] >= mostOfUser:
		return nil, fmt.Errorf("you have %d log and exec sessions open, which is the most; end one: %w", mostOfUser, errs.Unavailable)
	case node != "" && t.open[there] >= mostOnWorker:
		return nil, fmt.Errorf("you have %d log and exec sessions with worker %s, which is the most; end one: %w", mostOnWorker, node, errs.Unavailable)
	}
	keys := []talk{all}
	if node != "" {
		keys = append(keys, there)
	}
	for _, k := range keys {
		t.open[k]++
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, k := range keys {
			if t.open[k]--; t.open[k] == 0 {
				delete(t.open, k)
			}
		}
	}, nil
}

// Attach opens a session with an instance of the caller. It ends with ctx, which
// has to end. The last frame is an End, whatever happens. Errors: NotFound when
// it is unknown or another user's, Conflict when it is not in a state to be
// asked, Unavailable when cluster or worker do not answer, or they serve too
// many already, or the caller has too many open.
func (c *Control) Attach(ctx context.Context, who Caller, id model.InstanceID, a Ask) (session.Conn, error) {
	if _, err := c.service(ctx, who, id.Service); err != nil {
		return nil, err
	}
	in, err := c.store.Instances().Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if in.Tombstone {
		return nil, fmt.Errorf("instance %s is removed: %w", id, errs.NotFound)
	}
	view := slotView(in, c.below, c.sites())
	if in.Grant == 0 || in.Cluster == "" {
		return nil, because(fmt.Errorf("instance %d is in no cluster yet: %w", id.Number, errs.Conflict), view)
	}
	leave, err := c.talks.enter(who.Name, in.Cluster, view.Seen.Placement.Node)
	if err != nil {
		return nil, err
	}
	conn, err := c.dialogs.Attach(ctx, in.Cluster, id, a)
	if err != nil {
		leave()
		return nil, because(err, view)
	}
	context.AfterFunc(ctx, leave)
	return conn, nil
}

// because adds why an instance that cannot be asked has no worker yet.
func because(err error, v SlotView) error {
	if !errors.Is(err, errs.Conflict) || v.Detail == "" || v.Seen.Placement.Verdict == instance.Placed {
		return err
	}
	return fmt.Errorf("%s: %s: %w", strings.TrimSuffix(err.Error(), ": "+errs.Conflict.Error()), v.Detail, errs.Conflict)
}
