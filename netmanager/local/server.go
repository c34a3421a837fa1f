package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"

	wire "oakestra/api/local"
	"oakestra/pkg/errs"
)

const maxBody = 64 << 10

// Network does what NodeEngine asks for. Errors wrap the classes of pkg/errs.
type Network interface {
	Register(ctx context.Context, r Registration) (Registered, error)
	Deploy(ctx context.Context, d Deployment) (Deployed, error)
	Undeploy(ctx context.Context, u Removal) error
	// Ready is nil when containers can be attached, else why not.
	Ready(ctx context.Context) error
}

// Handler serves the local API.
func Handler(n Network, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	post := func(path string, h http.HandlerFunc) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				w.Header().Set("Allow", http.MethodPost)
				answer(w, http.StatusMethodNotAllowed, wire.Failure{Message: path + " takes POST, not " + r.Method})
				return
			}
			h(w, r)
		})
	}
	s := &server{n, log}
	post(wire.PathRegister, s.register)
	post(wire.PathDeploy, s.deploy)
	post(wire.PathUndeploy, s.undeploy)
	post(wire.PathUndeployDocker, s.undeploy)
	post(wire.PathDeployDocker, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(299)
		_, _ = io.WriteString(w, "DEPRECATED API")
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := n.Ready(r.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, wire.Failure{Message: err.Error()})
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, wire.Failure{Message: "no such path: " + r.URL.Path})
	})
	return mux
}

type server struct {
	network Network
	log     *slog.Logger
}

func (s *server) register(w http.ResponseWriter, r *http.Request) {
	var in wire.Register
	if !s.read(w, r, &in) {
		return
	}
	reg, err := registration(in)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out, err := s.network.Register(r.Context(), reg)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, wire.Registered{Subnet: out.Subnet.String()})
}

func (s *server) deploy(w http.ResponseWriter, r *http.Request) {
	var in wire.Deploy
	if !s.read(w, r, &in) {
		return
	}
	d, err := deployment(in)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out, err := s.network.Deploy(r.Context(), d)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, wire.Deployed{ServiceName: in.ServiceName, NSAddress: out.Address.String(), MTU: out.MTU})
}

// undeploy answers 200 always: what is not there has been removed.
func (s *server) undeploy(w http.ResponseWriter, r *http.Request) {
	var in wire.Undeploy
	if !s.read(w, r, &in) {
		return
	}
	if err := s.network.Undeploy(r.Context(), removal(in)); err != nil {
		s.log.Warn("removal goes on by itself", "service", in.ServiceName, "instance", in.InstanceNumber, "error", err)
	}
	w.WriteHeader(http.StatusOK)
}

func (s *server) read(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if err == nil {
		return true
	}
	message := "the body is no JSON object: " + err.Error()
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		message = wrong.Field + ": want " + wrong.Type.String() + " (got a " + wrong.Value + ")"
	}
	answer(w, http.StatusBadRequest, wire.Failure{Message: message})
	return false
}

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := status(err)
	s.log.Warn("request failed", "path", r.URL.Path, "status", code, "error", err)
	answer(w, code, wire.Failure{Message: err.Error()})
}

// status of an error. Original engines only tell 200 from the rest.
func status(err error) int {
	for _, c := range []struct {
		class error
		code  int
	}{
		{errs.Invalid, http.StatusBadRequest}, {errs.NotFound, http.StatusNotFound}, {errs.Conflict, http.StatusConflict},
		{errs.Unavailable, http.StatusServiceUnavailable}, {errs.Exhausted, http.StatusInsufficientStorage},
		{context.DeadlineExceeded, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, c.class) {
			return c.code
		}
	}
	return http.StatusInternalServerError
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
