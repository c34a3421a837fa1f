package clusters

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	exchange "oakestra/pkg/session"
	"oakestra/root/control"
)

// Bounds of sessions. A cluster has the first one, too.
const (
	mostOfCluster = 64
	mostOfRoot    = 256
	// keptForExec of each are for commands: logs that are followed stay for days.
	keptForExec = 16
	// openWithin is how long a cluster may take to open the stream, readyWithin
	// its worker to answer after that.
	openWithin  = 10 * time.Second
	readyWithin = 15 * time.Second
	// stillThere is how often it is asked whether the cluster is.
	stillThere = 2 * time.Second
)

// dialogs are the sessions that users have open, and those that wait for their
// cluster.
type dialogs struct {
	mu      sync.Mutex
	waiting map[string]chan *frames
	open    map[model.ClusterID]int // logs and commands
	all     int
	logs    map[model.ClusterID]int // of those
	allLogs int
}

func newDialogs() *dialogs {
	return &dialogs{waiting: map[string]chan *frames{}, open: map[model.ClusterID]int{}, logs: map[model.ClusterID]int{}}
}

// enter counts one more, and hands back its end.
func (d *dialogs) enter(id model.ClusterID, name string, kind control.SessionKind) (leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	log := kind == control.Logs
	switch {
	case d.open[id] >= mostOfCluster:
		return nil, fmt.Errorf("cluster %s serves %d log and exec sessions already; try again later: %w", name, mostOfCluster, errs.Unavailable)
	case log && d.logs[id] >= mostOfCluster-keptForExec:
		return nil, fmt.Errorf("cluster %s sends %d logs already; try again later: %w", name, mostOfCluster-keptForExec, errs.Unavailable)
	case d.all >= mostOfRoot:
		return nil, fmt.Errorf("the root serves %d log and exec sessions already; try again later: %w", mostOfRoot, errs.Unavailable)
	case log && d.allLogs >= mostOfRoot-keptForExec:
		return nil, fmt.Errorf("the root sends %d logs already; try again later: %w", mostOfRoot-keptForExec, errs.Unavailable)
	}
	d.open[id]++
	d.all++
	if log {
		d.logs[id]++
		d.allLogs++
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if log {
			d.allLogs--
			if d.logs[id]--; d.logs[id] == 0 {
				delete(d.logs, id)
			}
		}
		d.all--
		if d.open[id]--; d.open[id] == 0 {
			delete(d.open, id)
		}
	}, nil
}

func (d *dialogs) await(id string) <-chan *frames {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan *frames, 1)
	d.waiting[id] = c
	return c
}

// take hands out who waits for an id, once.
func (d *dialogs) take(id string) chan<- *frames {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.waiting[id]
	delete(d.waiting, id)
	return c
}

// Attach has a cluster open a session with an instance, and returns once its
// worker has begun to serve it. The session ends with ctx. Errors: Unavailable
// when the cluster is away, does not answer, or serves too many already;
// Conflict for one of an older version; else as the cluster says.
func (s *Server) Attach(ctx context.Context, cluster model.ClusterID, id model.InstanceID, a control.Ask) (exchange.Conn, error) {
	name := s.book.name(cluster)
	sess := s.book.sessions()[cluster]
	switch {
	case sess == nil || !s.book.Active(cluster):
		return nil, fmt.Errorf("cluster %s is not connected: %w", name, errs.Unavailable)
	case !slices.Contains(sess.abilities, string(a.Kind)):
		return nil, fmt.Errorf("the manager of cluster %s is of a version that cannot serve %s: upgrade it: %w", name, a.Kind, errs.Conflict)
	}
	leave, err := s.dialogs.enter(cluster, name, a.Kind)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, leave)
	token := exchange.NewID()
	came := s.dialogs.await(token)
	sess.queue(attachTo(token, id, a))
	context.AfterFunc(ctx, func() { s.over(cluster, token) })
	limit := time.NewTimer(openWithin)
	defer limit.Stop()
	select {
	case f := <-came:
		return s.begin(ctx, f, cluster, name)
	case <-ctx.Done():
		err = fmt.Errorf("session with cluster %s: %w: %w", name, ctx.Err(), errs.Unavailable)
	case <-limit.C:
		err = fmt.Errorf("cluster %s did not open the session within %s: %w", name, openWithin, errs.Unavailable)
	}
	if s.dialogs.take(token) == nil { // it does so this very moment
		(<-came).hangUp()
	}
	return nil, err
}

// over tells a cluster that a session has ended: that its stream has would not
// be heard behind what the cluster does not read.
func (s *Server) over(cluster model.ClusterID, token string) {
	if sess := s.book.sessions()[cluster]; sess != nil && slices.Contains(sess.abilities, linkv1.KindOver) {
		sess.queue(&linkv1.Down{Body: &linkv1.Down_Attach{Attach: &linkv1.Attach{SessionId: token, Kind: linkv1.KindOver}}})
	}
}

// begin waits until the worker serves.
func (s *Server) begin(ctx context.Context, f *frames, cluster model.ClusterID, name string) (exchange.Conn, error) {
	f.broken = fmt.Errorf("the connection to cluster %s broke off: %w", name, errs.Unavailable)
	context.AfterFunc(ctx, f.hangUp)
	limit, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	first, err := f.Recv(limit)
	switch {
	case err != nil:
		f.hangUp()
		return nil, fmt.Errorf("cluster %s: the worker did not answer within %s: %w", name, readyWithin, errs.Unavailable)
	case first.Kind == exchange.End && first.Err() != nil:
		f.hangUp()
		return nil, first.Err()
	case first.Kind != exchange.Ready:
		f.hangUp()
		return nil, fmt.Errorf("cluster %s ended the session before it began: %w", name, errs.Unavailable)
	}
	go s.watch(ctx, f, cluster, name)
	return f, nil
}

// watch ends a session whose cluster is not connected any more: one that is cut
// off says nothing.
func (s *Server) watch(ctx context.Context, f *frames, cluster model.ClusterID, name string) {
	tick := time.NewTicker(stillThere)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.over:
			return
		case <-tick.C:
			if !s.book.Active(cluster) {
				f.lose(fmt.Errorf("cluster %s is not connected any more: %w", name, errs.Unavailable))
				return
			}
		}
	}
}

// Session is a stream that a cluster opens when it is told to Attach.
func (s *Server) Session(stream grpc.BidiStreamingServer[linkv1.SessionFrame, linkv1.SessionFrame]) error {
	f := newFrames(stream)
	defer f.hangUp()
	limit := time.NewTimer(openWithin)
	defer limit.Stop()
	var id string
	select {
	case m := <-f.in:
		id = m.GetSessionId()
	case <-f.ended:
		return status.Error(codes.Aborted, "the session ended before it began")
	case <-limit.C:
		return status.Error(codes.DeadlineExceeded, "the first frame of a session names its id")
	}
	user := s.dialogs.take(id)
	if user == nil {
		return status.Error(codes.NotFound, "nobody waits for this session")
	}
	user <- f
	select {
	case <-f.over: // the user's side has read End, or is gone
	case <-f.ended:
		// What has come is still to be read, by who has the other end.
		<-f.over
	}
	return nil
}

func attachTo(token string, id model.InstanceID, a control.Ask) *linkv1.Down {
	return &linkv1.Down{Body: &linkv1.Down_Attach{Attach: &linkv1.Attach{
		SessionId: token, Kind: string(a.Kind), ServiceId: string(id.Service), Number: uint32(id.Number),
		Follow: a.Follow, Tail: a.Tail, SinceMs: a.Since.Milliseconds(),
		Command: a.Command, Stdin: a.Stdin, Tty: a.TTY, Columns: a.Columns, Rows: a.Rows,
	}}}
}
