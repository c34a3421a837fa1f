package rest

import (
	"log/slog"
	"net/http"

	"oakestra/root/auth"
	"oakestra/root/control"
)

// Deps is what New needs; Logger, Version and Ready may be left out.
type Deps struct {
	Control *control.Control
	Auth    *auth.Auth
	Below   control.Below
	Logger  *slog.Logger
	Version string
	// Ready is asked by /readyz; nil means always ready.
	Ready func() error
}

// New returns the handler of every route. It starts nothing.
func New(d Deps) http.Handler {
	return http.NotFoundHandler()
}
