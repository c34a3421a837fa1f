package swarm

import (
	"cmp"
	"slices"
	"time"

	"oakestra/api/mqtt"
)

// attempt names a container: the slot, and which run of it. Originals know no
// epochs; theirs are zero.
type attempt struct {
	service string
	number  int
	grant   uint64
	try     uint32
}

// container exists in memory.
type container struct {
	attempt
	job, technology string
	state           string
	seq             uint64
	timer           *time.Timer
}

// deploy starts what is not there yet. It returns the state changes to tell.
func (w *worker) deploy(d mqtt.Deploy) []mqtt.Job {
	a := attempt{service: d.ID, number: d.InstanceNumber}
	if !w.swarm.cfg.Original {
		a.grant, a.try = d.Grant, d.Try
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.held[a]; c != nil {
		if w.swarm.cfg.Original {
			return []mqtt.Job{{Name: c.job, Status: "FAILED", StatusDetail: "Service already deployed", Instance: c.number}}
		}
		return nil
	}
	c := &container{attempt: a, job: d.JobName, technology: d.Virtualization, state: "CREATING", seq: 1}
	w.held[a] = c
	c.timer = time.AfterFunc(w.swarm.cfg.StartFor, func() { w.started(c) })
	if w.swarm.cfg.Original {
		return nil
	}
	return []mqtt.Job{w.job(c)}
}

// started is the end of a container's start.
func (w *worker) started(c *container) {
	w.mu.Lock()
	if w.held[c.attempt] != c || !w.on {
		w.mu.Unlock()
		return
	}
	c.state, c.seq = "RUNNING", c.seq+1
	j := w.job(c)
	w.mu.Unlock()
	w.tell(j)
}

// delete ends what is meant: for ours this attempt and older ones, for
// originals whatever has the name and number.
func (w *worker) delete(d mqtt.Delete) []mqtt.Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []mqtt.Job
	for a, c := range w.held {
		if w.swarm.cfg.Original {
			if c.job != d.JobName || a.number != d.InstanceNumber {
				continue
			}
		} else if a.service != d.ServiceID || a.number != d.InstanceNumber ||
			cmp.Or(cmp.Compare(a.grant, d.Grant), cmp.Compare(a.try, d.Try)) > 0 {
			continue
		}
		c.timer.Stop()
		delete(w.held, a)
		c.state, c.seq = "UNDEPLOYED", c.seq+1
		if w.swarm.cfg.Original {
			c.state = "DEAD"
		}
		out = append(out, w.job(c))
	}
	return out
}

// sorted lists what the worker holds, in a fixed order.
func (w *worker) sorted() []*container {
	out := make([]*container, 0, len(w.held))
	for _, c := range w.held {
		out = append(out, c)
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b *container) int {
			return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.number, b.number), cmp.Compare(a.grant, b.grant), cmp.Compare(a.try, b.try))
		})
	}
	return out
}

// off takes away what a machine that is switched off holds.
func (w *worker) off() {
	for a, c := range w.held {
		c.timer.Stop()
		delete(w.held, a)
	}
}
