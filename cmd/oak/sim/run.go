package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"oakestra/node/swarm"
	"oakestra/pkg/errs"
)

// Options of a run.
type Options struct {
	Bin      string // directory of the daemons; what is not there comes from the PATH
	Self     string // this program, which is also the workers
	State    string // directory for stores and logs; "" = a temporary one, removed when all went well
	Progress io.Writer
}

// Result is what one step was and cost.
type Result struct {
	Step       string  `json:"step"`
	Seconds    float64 `json:"seconds"`     // until converged; of measure: its length
	ConvergedS float64 `json:"converged_s"` // after what was broken was whole again; see oak sim -h
	Lost       int     `json:"lost_instances"`
	Extra      int     `json:"extra_instances"`
	MostExtra  int     `json:"most_extra_instances"` // while a cluster was cut off
	LostNodes  int     `json:"lost_workers"`         // most the root saw at one time
	ManagerCPU float64 `json:"manager_cpu_seconds"`
	Manager    float64 `json:"manager_share_of_core"`
	ManagerRSS float64 `json:"manager_rss_mib"` // the largest cluster-manager
	Root       float64 `json:"root_share_of_core"`
	RootRSS    float64 `json:"root_rss_mib"`
	Broker     float64 `json:"broker_share_of_core"` // outside ones
	Workers    float64 `json:"workers_share_of_core"`
	Messages   float64 `json:"messages_per_second"` // from workers
	Placements float64 `json:"placements_per_second,omitempty"`
	AgeP50     float64 `json:"state_age_p50_ms,omitempty"`
	AgeP99     float64 `json:"state_age_p99_ms,omitempty"`
	LateMS     int64   `json:"workers_late_ms"`
	Load       string  `json:"load"`
	Error      string  `json:"error,omitempty"`
}

// Report is a whole run.
type Report struct {
	Scenario Scenario `json:"scenario"`
	Results  []Result `json:"results"`
}

// runner goes through one scenario.
type runner struct {
	s     Scenario
	o     Options
	site  *site
	work  *swarms
	api   *api
	apps  []application
	made  int // applications so far
	round int // of kill and cut
	begin time.Time
	lost  int // most lost workers in this step
	extra int // most instances too many, while a cluster was cut off
}

// Run starts everything, takes the steps, and stops everything. It returns
// what was measured until then with the first error.
func Run(ctx context.Context, s Scenario, o Options) (rep Report, err error) {
	rep.Scenario = s
	limit, err := descriptors()
	if err != nil {
		return rep, err
	}
	if err := enough(s, limit); err != nil {
		return rep, err
	}
	for _, name := range []string{whatRoot, whatManager} {
		if _, err := find(o, name); err != nil {
			return rep, err
		}
	}
	dir := o.State
	if dir == "" {
		if dir, err = os.MkdirTemp("", "oak-sim-"); err != nil {
			return rep, err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(dir)
				return
			}
			err = fmt.Errorf("%w\nlogs and stores are kept in %s", err, dir)
		}()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return rep, err
	}
	r := &runner{s: s, o: o, begin: time.Now()}
	if r.site, err = newSite(s, o, dir); err != nil {
		return rep, err
	}
	defer r.site.stop()
	r.say("starting the root and %d cluster-manager(s)", s.Clusters)
	if err := r.site.start(ctx); err != nil {
		return rep, err
	}
	r.api = newAPI(r.site.address)
	if r.work, err = startSwarms(s, r.site, o.Self, limit); err != nil {
		return rep, err
	}
	defer r.work.stop()
	for _, step := range s.Steps {
		res, err := r.take(ctx, step)
		rep.Results = append(rep.Results, res)
		if err != nil {
			return rep, fmt.Errorf("step %q: %w", step, err)
		}
	}
	return rep, nil
}

// enough says before the start when a broker cannot hold that many workers.
func enough(s Scenario, limit int) error {
	each := (s.Workers + s.Clusters - 1) / s.Clusters
	if most := limit - 1000; each > most {
		return errs.Problems{{Path: "workers", Value: fmt.Sprint(s.Workers), Message: fmt.Sprintf(
			"a broker may open %d files here (ulimit -Hn), enough for %d workers each: want fewer workers or more clusters", limit, most)}}
	}
	return nil
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.o.Progress, "%6.1f s  %s\n", time.Since(r.begin).Seconds(), fmt.Sprintf(format, args...))
}

// take does one step and measures it.
func (r *runner) take(ctx context.Context, step Step) (Result, error) {
	r.say("%s", step)
	if _, err := r.work.ask(swarm.Command{Do: "mark"}); err != nil {
		return Result{Step: step.String()}, err
	}
	before, err := r.look()
	if err != nil {
		return Result{Step: step.String()}, err
	}
	r.lost, r.extra = 0, 0
	res := Result{Step: step.String()}
	whole, ages, err := r.do(ctx, step)
	if err == nil && step.Do != doMeasure {
		err = r.converge(ctx)
	}
	after, e := r.look()
	if e != nil {
		return res, errors.Join(err, e)
	}
	r.fill(&res, before, after, step)
	if res.Seconds = after.at.Sub(before.at).Seconds(); step.Do != doMeasure {
		res.ConvergedS = after.at.Sub(whole).Seconds()
	}
	slices.Sort(ages)
	res.AgeP50, res.AgeP99 = quantile(ages, 0.5), quantile(ages, 0.99)
	lost, extra, _, e := r.truth()
	res.Lost, res.Extra = lost, extra
	if err = errors.Join(err, e); err != nil {
		res.Error = err.Error()
	}
	return res, err
}

// do carries the step out. whole is when the last thing that was broken on
// purpose was whole again: convergence counts from there.
func (r *runner) do(ctx context.Context, step Step) (whole time.Time, ages []float64, err error) {
	whole = time.Now()
	switch step.Do {
	case doStart, doRevive:
		_, err = r.work.ask(swarm.Command{Do: "start"})
	case doDeploy:
		var app application
		r.made++
		if app, err = r.api.deploy(ctx, r.made, step, r.s.OnClusterLoss); err == nil {
			r.apps = append(r.apps, app)
		}
	case doUndeploy:
		for _, app := range r.apps {
			if err = r.api.undeploy(ctx, app); err != nil {
				return whole, nil, err
			}
		}
		r.apps = nil
	case doMeasure:
		ages, err = r.measure(ctx, time.Duration(step.Seconds)*time.Second)
	case doKill:
		err = r.hit("kill", step)
	case doPartition:
		if err = r.hit("cut", step); err == nil {
			r.rest(ctx, time.Duration(step.Seconds)*time.Second)
			whole = time.Now()
			_, err = r.work.ask(swarm.Command{Do: "heal"})
		}
	case doCut:
		whole, err = r.cut(ctx, step)
	case doRestart:
		whole, err = r.restart(ctx, step.What)
	case doStorm:
		_, err = r.work.ask(swarm.Command{Do: "storm"})
	}
	return whole, ages, err
}

func (r *runner) hit(what string, step Step) error {
	r.round++
	a, err := r.work.ask(swarm.Command{Do: what, Percent: step.Percent, Round: r.round})
	if err == nil && a.Count == 0 {
		err = errs.Problems{{Path: "percent", Value: fmt.Sprint(step.Percent), Message: fmt.Sprintf("that is none of %d workers", r.s.Workers)}}
	}
	return err
}

// cut parts the first clusters from the root for a while; their workers notice
// nothing.
func (r *runner) cut(ctx context.Context, step Step) (whole time.Time, err error) {
	hit := r.site.managers[:max(1, step.Clusters)]
	for _, m := range hit {
		m.relay.cut()
	}
	defer func() {
		for _, m := range hit {
			m.relay.heal()
		}
		whole = time.Now()
	}()
	for end := time.Now().Add(time.Duration(step.Seconds) * time.Second); time.Now().Before(end); {
		r.rest(ctx, min(time.Second, time.Until(end)))
		_, extra, _, err := r.truth()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return whole, err
		}
		r.extra = max(r.extra, extra)
	}
	n, err := r.site.counts(ctx)
	if err == nil {
		r.say("  %d of %d cluster-managers are linked to the root, at most %d instances ran twice", n.linked, len(r.site.managers), r.extra)
	}
	return whole, err
}

// restart kills a daemon, without farewell, and starts it again.
func (r *runner) restart(ctx context.Context, what string) (time.Time, error) {
	var hit []*program
	switch what {
	case whatRoot:
		hit = []*program{r.site.root}
	case whatBroker:
		for _, m := range r.site.managers {
			hit = append(hit, m.broker)
		}
	default:
		for _, m := range r.site.managers {
			hit = append(hit, m.program)
		}
	}
	for _, p := range hit {
		p.stop(9)
	}
	began := time.Now()
	for _, p := range hit {
		if err := p.start(); err != nil {
			return began, err
		}
	}
	r.api.since = time.Time{}
	return began, ctx.Err()
}

// measure only looks: it reads a few services each second through the API.
func (r *runner) measure(ctx context.Context, length time.Duration) (ages []float64, err error) {
	var services []string
	for _, app := range r.apps {
		services = append(services, app.services...)
	}
	end, next := time.Now().Add(length), 0
	for time.Now().Before(end) {
		r.rest(ctx, min(time.Second, time.Until(end)))
		if ctx.Err() != nil {
			return ages, ctx.Err()
		}
		if len(services) > 0 {
			some, err := r.api.ages(ctx, services[next%len(services)])
			if err != nil {
				return ages, err
			}
			ages = append(ages, some...)
			next++
		}
		if next%10 == 0 {
			if err := r.watch(ctx); err != nil {
				return ages, err
			}
		}
	}
	return ages, nil
}

func (r *runner) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// watch remembers the most workers that the root counted as lost.
func (r *runner) watch(ctx context.Context) error {
	v, err := r.api.metrics(ctx)
	r.lost = max(r.lost, v.nodes["lost"])
	return err
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
