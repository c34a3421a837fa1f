package http

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"oakestra/api/mqtt"
	"oakestra/cluster/fleet"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

const maxBody = 256 << 10

// Fleet is what the port needs of the workers' side.
type Fleet interface {
	Register(ctx context.Context, r fleet.Registration) (model.NodeID, error)
	Status(ctx context.Context) (fleet.Status, error)
}

// Root is what the port tells of the link to the root.
type Root interface {
	Connected() bool
	ClusterID() string
}

// Config is what registered workers are told.
type Config struct {
	Name     string
	MQTTHost string // "" = the address they registered at
	MQTTPort string
	// Sessions is where workers that were rung open theirs; nil: nowhere.
	Sessions http.Handler
}

// Handler serves port 10100. metrics decides itself who may read it.
func Handler(cfg Config, f Fleet, r Root, metrics http.Handler) http.Handler {
	s := server{cfg, f, r}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+mqtt.RegisterPath, s.register)
	mux.HandleFunc("POST "+mqtt.RegisterPath+"/{$}", s.register)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("GET /api/cluster/status", s.status)
	mux.Handle("GET /metrics", metrics)
	if cfg.Sessions != nil {
		mux.Handle("GET "+mqtt.SessionPath, cfg.Sessions)
	}
	return mux
}

type server struct {
	cfg   Config
	fleet Fleet
	root  Root
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the peer is gone
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, errs.Invalid):
		code = http.StatusBadRequest
	case errors.Is(err, errs.Conflict):
		code = http.StatusConflict
	case errors.Is(err, errs.Unavailable):
		code = http.StatusServiceUnavailable
	}
	answer(w, code, map[string]string{"message": err.Error()})
}

func (s server) register(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		fail(w, errs.Problems{{Path: "body", Message: err.Error()}})
		return
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	reg, err := registrationFrom(body, peer.Addr().Unmap())
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	id, err := s.fleet.Register(ctx, reg)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, mqtt.Registered{ID: string(id), MQTTPort: s.cfg.MQTTPort, MQTTHost: s.cfg.MQTTHost, CombinedReport: true,
		ClusterID: s.root.ClusterID(), ReportMS: 2000})
}

func (s server) ready(w http.ResponseWriter, r *http.Request) {
	if _, err := s.query(r); err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"status": "ok", "connected_to_root": s.root.Connected()})
}

func (s server) query(r *http.Request) (fleet.Status, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	return s.fleet.Status(ctx)
}

func (s server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.query(r)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"cluster_name": s.cfg.Name, "cluster_id": s.root.ClusterID(), "connected_to_root": s.root.Connected(),
		"active_nodes": st.ActiveNodes, "network_nodes": st.NetworkNodes})
}
