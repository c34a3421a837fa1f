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
// ends is a failure too: nothing here is meant to end by itself. Once ctx has
// ended, what parts return counts as the way they stop: Run returns nil.
func Run(ctx context.Context, parts ...Part) error {
	g, inner := errgroup.WithContext(ctx)
	for _, p := range parts {
		g.Go(func() error {
			err := p.Run(inner)
			if ctx.Err() != nil {
				return nil
			}
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", p.Name, err)
			case inner.Err() != nil:
				return nil
			}
			return fmt.Errorf("%s: ended by itself", p.Name)
		})
	}
	return g.Wait()
}
