package httpx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits of a connection. Peek is how long a connection may stay silent before
// it is closed; the others are those of net/http.
const (
	peekTimeout    = 5 * time.Second
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	stopTimeout    = 5 * time.Second
)

// Stream is a gRPC server, as far as this package needs it.
type Stream interface {
	Serve(net.Listener) error
	Stop()
}

// Serve answers on ln until ctx ends, then lets running requests finish for at
// most 5 s. A connection that opens with the HTTP/2 preface goes to stream,
// all else to handler; stream may be nil. It closes ln.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler, stream Stream) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	web, links := newSideListener(ln.Addr()), newSideListener(ln.Addr())
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(web); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	if stream != nil {
		g.Go(func() error {
			if err := stream.Serve(links); err != nil && inner.Err() == nil {
				return fmt.Errorf("serve gRPC on %s: %w", ln.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error { return accept(inner, ln, web, links, stream != nil) })
	g.Go(func() error {
		<-inner.Done()
		_ = ln.Close()
		if stream != nil {
			stream.Stop() // streams never end by themselves
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			_ = server.Close()
		}
		_ = web.Close()
		_ = links.Close()
		return nil
	})
	return g.Wait()
}
