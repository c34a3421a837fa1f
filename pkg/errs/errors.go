package errs

import (
	"errors"
	"strings"
)

// The classes. Every error that crosses a package border wraps exactly one.
var (
	NotFound        = errors.New("not found")
	Invalid         = errors.New("invalid")          // the value can never work: 400 or 422
	Conflict        = errors.New("conflict")         // taken, duplicate, or changed meanwhile: 409
	Unauthenticated = errors.New("unauthenticated")  // 401
	Forbidden       = errors.New("forbidden")        // 403
	Unavailable     = errors.New("unavailable")      // try again later: 503
	Exhausted       = errors.New("exhausted")        // a pool or capacity is used up: 507
	Internal        = errors.New("internal failure") // 500
)

// Problem is one thing that is wrong with an input, at a JSON path such as
// "applications[0].microservices[1].port".
type Problem struct {
	Path    string
	Value   string
	Message string
}

// String prints the problem as one line: path, message and the offending value.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Path)
	if p.Path != "" {
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Value != "" {
		b.WriteString(" (got ")
		b.WriteString(p.Value)
		b.WriteString(")")
	}
	return b.String()
}

// Problems is an Invalid error that lists everything that is wrong.
type Problems []Problem

// Error joins all problems with "; ".
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "; ")
}

// Unwrap makes errors.Is(err, Invalid) true.
func (p Problems) Unwrap() error { return Invalid }

// Err is nil for an empty list, else the list itself.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}
