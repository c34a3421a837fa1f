package mongostore

import (
	"context"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
)

// observer is told how long reads and writes take, as the server's answers
// come; nobody at first.
type observer struct {
	f atomic.Pointer[func(write bool, took time.Duration, err error)]
}

// Observe has every later read and write told to f. A duplicate that a server
// refuses is an answer and no failure; so is a command that a caller gave up.
func (s *Store) Observe(f func(write bool, took time.Duration, err error)) { s.watch.f.Store(&f) }

// commands are those of the driver that read or write what is stored, and
// whether they write.
var commands = map[string]bool{
	"find": false, "getMore": false, "aggregate": false, "count": false,
	"insert": true, "update": true, "delete": true, "findAndModify": true, "commitTransaction": true,
}

// monitor is what the driver tells of its commands.
func (o *observer) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) { o.tell(e.CommandName, e.Duration, nil) },
		Failed: func(ctx context.Context, e *event.CommandFailedEvent) {
			if ctx.Err() == nil || e.Failure == nil {
				o.tell(e.CommandName, e.Duration, e.Failure)
			}
		},
	}
}

func (o *observer) tell(command string, took time.Duration, err error) {
	write, counts := commands[command]
	if f := o.f.Load(); f != nil && counts {
		(*f)(write, took, err)
	}
}
