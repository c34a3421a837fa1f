package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/cluster/nodelink/memlink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// generation is what differs between original engines.
type generation struct {
	name       string
	started    instance.State // what it says first of a container that runs
	background bool           // deletes are carried out beside other commands
	unknown    bool           // the delete of something unknown is answered
	oneShot    bool           // it knows COMPLETED
}

var generations = []generation{
	{name: "v0.4.2", started: instance.Running, unknown: true},
	{name: "v0.4.402", started: instance.Created, unknown: true, oneShot: true},
	{name: "v0.4.410", started: instance.Created, background: true, oneShot: true},
}

// engine is an original NodeEngine, in virtual time: one task per slot, no
// epochs, a list of tasks every 2 s for each of its runtimes.
type engine struct {
	gen   generation
	ctx   context.Context
	link  *memlink.Node
	lists int // runtimes; the first holds the containers

	mu      sync.Mutex
	tasks   map[string]bool             // what runs
	pulled  map[string]time.Time        // by name and image: when the pull ends, or did; no delete ends it
	life    int                         // starts of the agent
	specs   map[string]*nodelink.Deploy // of what runs or ran
	asked   map[string]*nodelink.Deploy // the last order
	pull    time.Duration               // how long a start takes
	fails   string                      // why nothing starts
	quiet   bool                        // its lists are lost on the way
	lose    int                         // so many deletes are lost on the way
	cut     bool                        // nothing comes or goes
	wrong   int                         // deletes that hit the container of another slot
	deploys []time.Time
	deletes []time.Time
	reports []listing
}

// listing is a report, and whether it named any task.
type listing struct {
	at  time.Time
	any bool
}

func (r *rig) engine(g generation, host string) *engine {
	r.t.Helper()
	in := registration(host)
	in.Key, in.Runtimes = "", []string{"docker", "container"}
	id := r.register(in)
	e := &engine{gen: g, ctx: r.ctx, link: r.hub.Node(model.NodeID(id)), lists: 1, tasks: map[string]bool{}, pulled: map[string]time.Time{}, specs: map[string]*nodelink.Deploy{}, asked: map[string]*nodelink.Deploy{}}
	r.wg.Go(func() { e.obey(r.ctx) })
	r.wg.Go(func() { e.report(r.ctx) })
	return e
}

func (e *engine) obey(ctx context.Context) {
	for {
		m, ok := e.link.Recv(ctx)
		if !ok {
			return
		}
		switch {
		case e.isCut():
		case m.Deploy != nil:
			e.deploy(m.Deploy)
		case m.Delete != nil && e.loses():
		case m.Delete != nil && e.gen.background:
			go e.delete(m.Delete)
		case m.Delete != nil:
			e.delete(m.Delete)
		}
	}
}

func key(name model.ServiceName, number int) string { return fmt.Sprintf("%s/%d", name, number) }

func (e *engine) deploy(d *nodelink.Deploy) {
	k := key(d.Name, d.Attempt.Instance.Number)
	e.mu.Lock()
	e.deploys = append(e.deploys, time.Now())
	e.asked[k] = d
	image := k + " " + d.Spec.Image
	if _, known := e.pulled[image]; !known { // else it is there, or on its way
		e.pulled[image] = time.Now().Add(e.pull)
	}
	why, life, wait := e.fails, e.life, time.Until(e.pulled[image])
	e.mu.Unlock()
	go func() { // the agent knows of it when it has the image, and not before
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(wait):
		}
		e.mu.Lock()
		over, there := life != e.life, e.tasks[k]
		if !over && !there && why == "" {
			e.tasks[k], e.specs[k] = true, d
		}
		e.mu.Unlock()
		switch {
		case over:
		case why != "":
			e.word(d, instance.Failed, why)
		case there:
			e.say(d.Name, d.Attempt.Instance.Number, nodelink.StateChange{Word: "FAILED", Present: true})
		default:
			e.word(d, e.gen.started, "")
		}
	}()
}

// delete: the kill waits 5 s for a hand-shake that never comes; the newest does
// it beside, and says so first.
func (e *engine) delete(d *nodelink.Delete) {
	k := key(d.Name, d.Attempt.Instance.Number)
	e.mu.Lock()
	e.deletes = append(e.deletes, time.Now())
	_, there := e.tasks[k]
	e.wrong += one(there && e.specs[k].Attempt.Instance != d.Attempt.Instance)
	delete(e.tasks, k)
	e.mu.Unlock()
	at := &nodelink.Deploy{Name: d.Name, Attempt: d.Attempt}
	switch {
	case there && e.gen.background:
		e.word(at, instance.Undeployed, "")
		time.Sleep(60 * time.Millisecond)
		e.word(at, instance.Dead, "Container is starting up")
	case there:
		e.word(at, instance.Dead, "")
		time.Sleep(5 * time.Second)
		e.word(at, instance.Undeployed, "")
	case e.gen.unknown:
		e.word(at, instance.Undeployed, "")
	}
}

// exits ends every container.
func (e *engine) exits(code int) {
	e.mu.Lock()
	var ended []*nodelink.Deploy
	for k, runs := range e.tasks {
		if runs {
			ended = append(ended, e.specs[k])
			delete(e.tasks, k)
		}
	}
	e.mu.Unlock()
	for _, d := range ended {
		c := nodelink.StateChange{Observed: instance.Observed{State: instance.Dead, Reason: fmt.Sprintf("Container exited with status: %d", code), Exit: int32(code)}, Exited: true}
		if e.gen.background { // which says nothing of how it ended
			c.Observed.Reason, c.Observed.Exit, c.Exited = "Container is starting up", 0, false
		}
		if d.Spec.OneShot && code == 0 && e.gen.oneShot {
			c.Observed.State = instance.Completed
		}
		e.say(d.Name, d.Attempt.Instance.Number, c)
	}
}

// restarts is kill and start of the agent: everything is gone, nothing is said.
func (e *engine) restarts() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.tasks)
	maps.DeleteFunc(e.pulled, func(_ string, end time.Time) bool { return end.After(time.Now()) })
	e.life++
}

func (e *engine) word(d *nodelink.Deploy, s instance.State, why string) {
	e.say(d.Name, d.Attempt.Instance.Number, nodelink.StateChange{Observed: instance.Observed{State: s, Reason: why}})
}

func (e *engine) say(name model.ServiceName, number int, c nodelink.StateChange) {
	c.JobName, c.Number, c.Original, c.PublicIP = name.String(), number, true, "192.0.2.7"
	if !e.isCut() {
		e.link.Send(nodelink.Inbound{Change: &c})
	}
}

func (e *engine) report(ctx context.Context) {
	for {
		if !e.isCut() {
			e.link.Send(nodelink.Inbound{Report: &nodelink.NodeReport{Original: true}})
		}
		e.mu.Lock()
		lists := e.lists
		e.mu.Unlock()
		for i := range lists {
			if e.isQuiet() {
				continue
			}
			r := &nodelink.NodeReport{Original: true, ContainersOnly: true}
			e.mu.Lock()
			for k, runs := range e.tasks {
				if runs && i == 0 {
					d := e.specs[k]
					r.Containers = append(r.Containers, nodelink.Container{JobName: d.Name.String(), Number: d.Attempt.Instance.Number})
				}
			}
			e.reports = append(e.reports, listing{time.Now(), len(r.Containers) > 0})
			e.mu.Unlock()
			e.link.Send(nodelink.Inbound{Report: r})
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
	}
}

func (e *engine) isQuiet() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.quiet || e.cut
}

func (e *engine) isCut() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cut
}

func (e *engine) loses() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	lost := e.lose > 0
	e.lose -= one(lost)
	return lost
}

// images lists those of what runs.
func (e *engine) images() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for k, runs := range e.tasks {
		if runs {
			out = append(out, e.specs[k].Spec.Image)
		}
	}
	slices.Sort(out)
	return out
}

// told counts deploys and deletes; runs says whether anything does.
func (e *engine) told() (deploys, deletes int, runs bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.tasks {
		runs = runs || r
	}
	return len(e.deploys), len(e.deletes), runs
}

func (e *engine) set(fn func(*engine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fn(e)
}
