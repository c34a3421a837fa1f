package sessions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"oakestra/api/mqtt"
	"oakestra/node/runtime"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/session"
)

const (
	// most sessions at once, and most of them that are logs: commands find a
	// place when many follow. One more is refused.
	most     = 32
	mostLogs = 24
	// dialWithin is less than the 10 s that a session waits for us.
	dialWithin = 8 * time.Second
)

// Abilities are what a cluster may ask.
func Abilities() []string { return []string{mqtt.AbilityLogs, mqtt.AbilityExec} }

// Sessions serves them. Make it with New.
type Sessions struct {
	at      string // host:port of the cluster
	console runtime.Console
	log     *slog.Logger
	http    *http.Client
	orders  chan mqtt.Session
	room    chan struct{}
	logRoom chan struct{} // of those, for logs
}

// New makes Sessions for the cluster manager at host:port; nothing happens
// before Run.
func New(at string, console runtime.Console, logger *slog.Logger) *Sessions {
	return &Sessions{at: at, console: console, log: logger.With("part", "sessions"), http: client(),
		orders: make(chan mqtt.Session, most), room: make(chan struct{}, most), logRoom: make(chan struct{}, mostLogs)}
}

// client keeps no connections and has no limit in time: a session is one, and
// may last.
func client() *http.Client {
	dial := &net.Dialer{Timeout: dialWithin}
	return &http.Client{Transport: &http.Transport{DialContext: dial.DialContext, DisableKeepAlives: true}}
}

// Ring takes an order. It never blocks: who rings too often is not answered.
func (s *Sessions) Ring(o mqtt.Session) {
	select {
	case s.orders <- o:
	default:
		s.log.Warn("session dropped: too many wait")
	}
}

// Run serves until ctx ends and every session has.
func (s *Sessions) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-s.orders:
			all.Go(func() { s.serve(ctx, o) })
		}
	}
}

func (s *Sessions) serve(ctx context.Context, o mqtt.Session) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	limit := time.AfterFunc(dialWithin, cancel)
	to := url.URL{Scheme: "ws", Host: s.at, Path: mqtt.SessionPath + o.ID}
	sock, err := session.Dial(ctx, to.String(), nil, s.http)
	if err != nil || !limit.Stop() {
		if sock != nil { // it came as its time was over
			sock.Close()
		}
		s.log.Warn("session not opened", "kind", o.Kind, "error", err)
		return
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer sock.Close() // which ends the watch, too
	defer cancel()
	watching.Go(func() { sock.Watch(ctx, cancel) })
	id := attempt(o).ID()
	s.log.Info("session begins", "kind", o.Kind, "container", id)
	end := s.answer(ctx, cancel, sock, id, o)
	s.log.Info("session ends", "kind", o.Kind, "container", id, "error", end.Message)
	if err := sock.Send(context.WithoutCancel(ctx), end); err == nil {
		sock.Finish()
	}
}

// attempt names the container that is meant.
func attempt(o mqtt.Session) runtime.Spec {
	return runtime.Spec{Service: model.ServiceID(o.ServiceID), Number: o.InstanceNumber, Grant: instance.Grant(o.Grant), Try: o.Try}
}

// answer serves the session and says how it ended.
func (s *Sessions) answer(ctx context.Context, hangUp func(), sock *session.Socket, id string, o mqtt.Session) session.Frame {
	leave, err := s.enter(o.Kind)
	if err != nil {
		return session.EndWith(err)
	}
	defer leave()
	var exit int
	switch o.Kind {
	case mqtt.AbilityLogs:
		err = s.logs(ctx, hangUp, sock, id, o)
	case mqtt.AbilityExec:
		exit, err = s.exec(ctx, hangUp, sock, id, o)
	default:
		err = fmt.Errorf("this worker knows no session of kind %q: %w", o.Kind, errs.Invalid)
	}
	if err != nil {
		return session.EndWith(err)
	}
	return session.Frame{Kind: session.End, Exit: int32(exit)}
}

// enter takes a place, and hands out what gives it back.
func (s *Sessions) enter(kind string) (leave func(), err error) {
	if kind == mqtt.AbilityLogs {
		select {
		case s.logRoom <- struct{}{}:
			defer func() {
				if err != nil {
					<-s.logRoom
				}
			}()
		default:
			return nil, fmt.Errorf("the worker sends %d logs already; try again later: %w", mostLogs, errs.Unavailable)
		}
	}
	select {
	case s.room <- struct{}{}:
	default:
		return nil, fmt.Errorf("the worker serves %d log and exec sessions already; try again later: %w", most, errs.Unavailable)
	}
	return func() {
		<-s.room
		if kind == mqtt.AbilityLogs {
			<-s.logRoom
		}
	}, nil
}

func (s *Sessions) logs(ctx context.Context, hangUp func(), sock *session.Socket, id string, o mqtt.Session) error {
	q := runtime.LogQuery{Follow: o.Follow, Tail: o.Tail}
	if o.SinceMS > 0 {
		q.Since = time.Now().Add(-time.Duration(o.SinceMS) * time.Millisecond)
	}
	r, err := s.console.OpenLog(ctx, id, q)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := sock.Send(ctx, session.Frame{Kind: session.Ready}); err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil { // nothing is to come but the end
			if _, err := sock.Recv(ctx); err != nil {
				hangUp()
			}
		}
	}()
	buf := make([]byte, session.Chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := sock.Send(ctx, session.Frame{Kind: session.Stdout, Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
