package lifecycle

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Part is one thing that runs until its context ends.
type Part struct {
	Name string
	Run  func(context.Context) error
}

// Run runs all parts until ctx ends or one fails; then it stops the others and
// waits for them. The error names the part. A part that returns nil before ctx
// ends is a failure too: nothing here is meant to end by itself. Run returns
// nil when ctx ended and no part failed.
func Run(ctx context.Context, parts ...Part) error {
	g, inner := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error {
			err := p.Run(inner)
			switch {
			case inner.Err() != nil && (err == nil || ctx.Err() != nil):
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			return fmt.Errorf("%s: ended by itself", p.Name)
		})
	}
	return g.Wait()
}
