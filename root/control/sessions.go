package control

import (
	"context"
	"fmt"
	"time"

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

// Attach opens a session with an instance of the caller. It ends with ctx, which
// has to end. The last frame is an End, whatever happens. Errors: NotFound when
// it is unknown or another user's, Conflict when it is not in a state to be
// asked, Unavailable when cluster or worker do not answer or serve too many
// already.
func (c *Control) Attach(ctx context.Context, who Caller, id model.InstanceID, a Ask) (session.Conn, error) {
	if _, err := c.service(ctx, who, id.Service); err != nil {
		return nil, err
	}
	in, err := c.store.Instances().Get(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case in.Tombstone:
		return nil, fmt.Errorf("instance %s is removed: %w", id, errs.NotFound)
	case in.Grant == 0 || in.Cluster == "":
		return nil, fmt.Errorf("instance %d is in no cluster yet: %w", id.Number, errs.Conflict)
	}
	return c.dialogs.Attach(ctx, in.Cluster, id, a)
}
