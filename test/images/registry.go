package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Serve answers as an image registry (plain HTTP, in memory) on the listener
// until ctx ends. ready is called once the images of all specs can be pulled.
func Serve(ctx context.Context, ln net.Listener, cache string, specs []Spec, ready func()) error {
	server := &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	defer server.Close()

	for _, s := range specs {
		img, err := Build(ctx, cache, s)
		if err != nil {
			return err
		}
		ref, err := name.ParseReference(fmt.Sprintf("%s/%s:%s", ln.Addr(), s.Repository, s.Tag), name.Insecure)
		if err != nil {
			return err
		}
		if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
	}
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-done:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
}
