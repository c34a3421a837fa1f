package sim

import (
	"context"
	"fmt"
	"time"

	"oakestra/node/swarm"
	"oakestra/pkg/errs"
)

// moment is what has been used and counted until then.
type moment struct {
	at       time.Time
	managers []usage
	root     usage
	broker   float64
	workers  float64
	status   swarm.Status
}

func (r *runner) look() (moment, error) {
	m := moment{at: time.Now(), root: r.site.root.usage(), workers: r.work.cpu()}
	for _, v := range r.site.managers {
		m.managers = append(m.managers, v.program.usage())
		if v.broker != nil {
			m.broker += v.broker.usage().cpu
		}
	}
	a, err := r.work.ask(swarm.Command{Do: "status"})
	m.status = a.Status
	return m, err
}

func (r *runner) fill(res *Result, a, b moment, step Step) {
	seconds := b.at.Sub(a.at).Seconds()
	for i := range b.managers {
		res.ManagerCPU += b.managers[i].cpu - a.managers[i].cpu
		res.Manager = max(res.Manager, (b.managers[i].cpu-a.managers[i].cpu)/seconds)
		res.ManagerRSS = max(res.ManagerRSS, b.managers[i].rss)
	}
	res.Root, res.RootRSS = (b.root.cpu-a.root.cpu)/seconds, b.root.rss
	res.Broker, res.Workers = (b.broker-a.broker)/seconds, (b.workers-a.workers)/seconds
	res.Messages = float64(b.status.Published-a.status.Published) / seconds
	res.LateMS, res.LostNodes, res.MostExtra, res.Load = b.status.LateMS, r.lost, r.extra, load()
	if first := b.status.FirstDeploy; first > 0 && step.Do == doDeploy {
		// From the first order at a worker to the last.
		res.Placements = float64(b.status.MarkDeploys) / (float64(max(1, b.status.LastDeploy-first)) / 1000)
	}
}

// truth compares what the workers run with what is wanted.
func (r *runner) truth() (lost, extra int, s swarm.Status, err error) {
	a, err := r.work.ask(swarm.Command{Do: "status", Full: true})
	if err != nil {
		return 0, 0, s, err
	}
	s = a.Status
	for _, app := range r.apps {
		for _, slot := range app.slots {
			n := s.Running[slot]
			delete(s.Running, slot)
			if n == 0 {
				lost++
			}
			extra += max(0, n-1)
		}
	}
	for _, n := range s.Running { // what nobody wants
		extra += n
	}
	return lost, extra, s, nil
}

func (r *runner) wanted() (n int) {
	for _, app := range r.apps {
		n += len(app.slots)
	}
	return n
}

// converge waits until workers, cluster-managers and root agree with what is
// wanted.
func (r *runner) converge(ctx context.Context) error {
	end := time.Now().Add(time.Duration(r.s.TimeoutS) * time.Second)
	said := time.Now()
	for {
		why, err := r.differs(ctx)
		if err != nil {
			return err
		}
		if why == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %d s: %s: %w", r.s.TimeoutS, why, errs.Unavailable)
		}
		if time.Since(said) > time.Second {
			said = time.Now()
			r.say("  waiting: %s", why)
		}
		r.rest(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// differs says what is not yet as it should be, "" when all is. What is cheap
// is asked first.
func (r *runner) differs(ctx context.Context) (string, error) {
	if err := r.site.alive(); err != nil {
		return "", err
	}
	a, err := r.work.ask(swarm.Command{Do: "status"})
	if err != nil {
		return "", err
	}
	s := a.Status
	if s.Containers != r.wanted() || int(s.Connected) < s.On-s.Cut {
		why := fmt.Sprintf("%d of %d workers connected, %d of %d instances run", min(int(s.Connected), s.On), s.On, s.Containers, r.wanted())
		if s.LastError != "" && int(s.Connected) < s.On {
			why += "; last error: " + s.LastError
		}
		return why, r.peek(ctx)
	}
	if why := r.levels(ctx, s); why != "" {
		return why, r.peek(ctx)
	}
	lost, extra, _, err := r.truth()
	if err != nil || lost+extra > 0 {
		return fmt.Sprintf("%d instances are lost, %d are too many", lost, extra), err
	}
	return "", nil
}

// levels says where cluster-managers and root differ from the workers.
func (r *runner) levels(ctx context.Context, s swarm.Status) string {
	n, err := r.site.counts(ctx)
	if err != nil {
		return "a cluster-manager does not answer: " + err.Error()
	}
	if n.nodes != s.On || n.linked != len(r.site.managers) {
		return fmt.Sprintf("the cluster-managers count %d of %d workers, %d of %d are linked to the root", n.nodes, s.On, n.linked, len(r.site.managers))
	}
	v, err := r.api.metrics(ctx)
	if err != nil {
		return "the root does not answer: " + err.Error()
	}
	r.lost = max(r.lost, v.nodes["lost"])
	gone := r.s.Workers - s.On
	if v.nodes["alive"]+v.nodes["suspect"] != s.On || v.nodes["lost"] != gone || v.instances["RUNNING"] != r.wanted() {
		return fmt.Sprintf("the root shows %d workers alive, want %d; %d lost, want %d; %d instances running, want %d",
			v.nodes["alive"]+v.nodes["suspect"], s.On, v.nodes["lost"], gone, v.instances["RUNNING"], r.wanted())
	}
	return ""
}

// peek watches for lost workers meanwhile; a root that is away says nothing.
func (r *runner) peek(ctx context.Context) error {
	if err := r.watch(ctx); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}
