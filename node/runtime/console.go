package runtime

import (
	"context"
	"io"
	"time"
)

// Console reads the output of containers and runs commands in them. A Runtime
// has one. Errors carry a class of pkg/errs.
type Console interface {
	// OpenLog opens the output of an attempt, also of one that has ended, as
	// long as its file is kept. Read waits for more while the container runs,
	// when q says so, until ctx ends; io.EOF is the end. errs.NotFound: there is
	// no output of such an attempt here.
	OpenLog(ctx context.Context, id string, q LogQuery) (io.ReadCloser, error)
	// Exec runs a command inside a running container and returns its exit code.
	// When ctx ends the command is killed. errs.NotFound: no such container, or
	// no such program in it; errs.Conflict: it does not run.
	Exec(ctx context.Context, id string, c Command) (int, error)
}

// LogQuery says which part of an output is wanted.
type LogQuery struct {
	Follow bool
	Tail   int64 // the last so many lines; 0: all
	// Since leaves out what is older, zero: nothing. Times are known as exactly
	// as Stats is called; what was written before this process began counts as
	// new.
	Since time.Time
}

// Size of a terminal; zero when it is not known.
type Size struct{ Columns, Rows uint32 }

// Command is what Exec runs.
type Command struct {
	Args   []string // not empty
	TTY    bool     // with a terminal; Stderr is then part of Stdout
	Size   Size
	Resize <-chan Size // may be nil
	Stdin  io.Reader   // nil: none
	Stdout io.Writer
	Stderr io.Writer
	// Started is called once, when the command runs; may be nil.
	Started func()
}
