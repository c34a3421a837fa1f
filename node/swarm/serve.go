package swarm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"oakestra/pkg/errs"
)

// Command is one line to a swarm in another process.
type Command struct {
	Do      string  `json:"do"` // start mark kill cut heal storm status
	Percent float64 `json:"percent,omitempty"`
	Round   int     `json:"round,omitempty"`
	Full    bool    `json:"full,omitempty"`
}

// Answer is one line back, to each command.
type Answer struct {
	Error  string `json:"error,omitempty"`
	Count  int    `json:"count,omitempty"` // of machines killed or cut
	Status Status `json:"status,omitzero"`
}

// Serve takes commands, a line each, and answers each with a line. It returns
// when in ends, ctx ends, or a line cannot be read.
func (s *Swarm) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	enc := json.NewEncoder(out)
	for lines.Scan() && ctx.Err() == nil {
		var c Command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("command %q: %w: %w", lines.Bytes(), err, errs.Invalid)
		}
		if err := enc.Encode(s.obey(c)); err != nil {
			return fmt.Errorf("answer: %w: %w", err, errs.Unavailable)
		}
	}
	return lines.Err()
}

func (s *Swarm) obey(c Command) Answer {
	switch c.Do {
	case "start":
		s.Start()
	case "mark":
		s.Mark()
	case "kill":
		return Answer{Count: s.Kill(Every(c.Percent, c.Round))}
	case "cut":
		return Answer{Count: s.Cut(Every(c.Percent, c.Round))}
	case "heal":
		s.Heal()
	case "storm":
		s.Storm()
	case "status":
		return Answer{Status: s.Status(c.Full)}
	default:
		return Answer{Error: fmt.Sprintf("do: want start, mark, kill, cut, heal, storm or status (got %q)", c.Do)}
	}
	return Answer{}
}
