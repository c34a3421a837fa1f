package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"
)

// writer changes things of its own, one request at a time, and remembers of
// each what the root said. Nobody else touches them, so what must be stored is
// known exactly, but for requests whose connection died.
type writer struct {
	*client
	t       *testing.T
	rng     *rand.Rand
	ledger  *ledger
	name    string
	eager   bool // does not wait for a root that says it is ready
	made    int
	apps    []*app // that exist
	dead    []*app // that do not
	journal []string

	org     organization
	orgName []string // what it may be called

	checked int // the life in which everything was looked at
	count   counts
}

// counts of a run.
type counts struct {
	creates, deploys, undeploys, deletes, renames int // acknowledged
	unknown, happened                             int // connection died; of those, found to be stored
	reads, refused                                int
}

func (c *counts) add(o counts) {
	c.creates += o.creates
	c.deploys += o.deploys
	c.undeploys += o.undeploys
	c.deletes += o.deletes
	c.renames += o.renames
	c.unknown += o.unknown
	c.happened += o.happened
	c.reads += o.reads
	c.refused += o.refused
}

func (c counts) writes() int { return c.creates + c.deploys + c.undeploys + c.deletes + c.renames }

// app is an application that was asked for.
type app struct {
	application
	parts []*part
}

// part is a service. Numbers are of instances.
type part struct {
	service
	last  int            // the greatest number seen
	asked int            // how often one more was asked for
	live  map[int]string // that exist, with their addresses once seen
	gone  map[int]bool   // that do not
	owner *app
}

func (p *part) addresses() []string {
	list := []string{p.Address}
	for _, a := range p.live {
		list = append(list, a)
	}
	return list
}

// run writes until the root lives no more.
func (w *writer) run() {
	for w.step() {
	}
}

// note writes the journal.
func (w *writer) note(format string, args ...any) {
	w.journal = append(w.journal, fmt.Sprintf("life %d: ", w.root.now())+fmt.Sprintf(format, args...))
}

// lost reports that a promise was broken, and ends the writer.
func (w *writer) lost(format string, args ...any) {
	w.t.Errorf("%s: %s\nits journal ends with:\n%s", w.name, fmt.Sprintf(format, args...), tail(w.journal, 25))
	runtime.Goexit()
}

func tail(list []string, n int) (out string) {
	for _, l := range list[max(0, len(list)-n):] {
		out += "  " + l + "\n"
	}
	return out
}

// step does one thing; false ends the writer.
func (w *writer) step() bool {
	if life := w.root.now(); life != w.checked {
		if !w.root.await(life-1, !w.eager) {
			return false
		}
		w.checkSome()
		w.checked = life
	}
	w.root.mu.Lock()
	over := w.root.over
	w.root.mu.Unlock()
	if over {
		return false
	}
	switch n := w.rng.IntN(100); {
	case len(w.apps) == 0 || n < 12 && len(w.apps) < 3:
		w.create()
	case n < 55:
		w.deploy(w.somePart())
	case n < 75:
		w.undeploy(w.somePart())
	case n < 80:
		w.remove(w.someApp(), w.rng.IntN(2) == 0)
	case n < 90:
		w.rename()
	default:
		w.check(w.someApp())
	}
	return true
}

func (w *writer) someApp() *app { return w.apps[w.rng.IntN(len(w.apps))] }

func (w *writer) somePart() *part {
	a := w.someApp()
	if len(a.parts) == 0 {
		return nil
	}
	return a.parts[w.rng.IntN(len(a.parts))]
}

// ask sends a write. What did not leave is sent again in the next life.
func (w *writer) ask(method, path string, body any) (fate, int, []byte) {
	for {
		life := w.root.now()
		f, status, data, err := w.do(method, path, body)
		w.note("%s %s: %d %v", method, path, status, err)
		switch {
		case f == never || f == refused && status == http.StatusServiceUnavailable:
			// Dead, or starting.
			w.count.refused++
			if !w.pause(life, f == refused) {
				return never, 0, nil
			}
			continue
		case f == refused && status == http.StatusInsufficientStorage:
			return never, 0, nil // a fast machine: all addresses are in use or rest
		case f == refused && status >= 500:
			w.lost("%v", err)
		case f == unknown:
			w.count.unknown++
			if !w.root.await(life, !w.eager) {
				w.lost("the connection died but nobody was killed: %v", err)
			}
		}
		return f, status, data
	}
}

// pause waits for a root that can answer. False: there will be none.
func (w *writer) pause(life int, starting bool) bool {
	if starting || w.eager && w.root.now() == life {
		time.Sleep(2 * time.Millisecond) // it is between start and listen, or about to be killed
		return true
	}
	return w.root.await(life-1, true)
}

// read gets a document; false when there is none. It asks until it is told.
func (w *writer) read(path string, into any) bool {
	for {
		life := w.root.now()
		f, status, data, err := w.do(http.MethodGet, path, nil)
		switch {
		case f == done:
			w.count.reads++
			if err := json.Unmarshal(data, into); err != nil {
				w.lost("GET %s: %v in %.300s", path, err, data)
			}
			return true
		case f == refused && status == http.StatusNotFound:
			w.count.reads++
			return false
		case f == refused:
			w.lost("%v", err)
		case f == unknown && !w.root.await(life, !w.eager), f == never && !w.pause(life, false):
			w.lost("nobody answers: %v", err)
		}
	}
}

func (w *writer) create() {
	w.made++
	a := &app{application: application{Name: fmt.Sprintf("%sn%d", w.name, w.made)}}
	f, status, data := w.ask(http.MethodPost, "/api/application/", descriptor(a.Name))
	var list []application
	switch f {
	case never:
		return
	case refused:
		w.lost("create %s: %d %s", a.Name, status, data)
	case done:
		w.count.creates++
		if err := json.Unmarshal(data, &list); err != nil {
			w.lost("create %s: %v", a.Name, err)
		}
	case unknown:
		w.read("/api/applications/", &list)
	}
	at := slices.IndexFunc(list, func(v application) bool { return v.Name == a.Name })
	if at < 0 {
		if f == done {
			w.lost("application %s is acknowledged and not listed", a.Name)
		}
		return
	}
	if f == unknown {
		w.count.happened++
	}
	a.application = list[at]
	w.note("%s is %s with %v", a.Name, a.ID, a.Services)
	if len(a.Services) != 2 {
		w.lost("application %s is stored in part: %+v", a.Name, a.application)
	}
	for _, id := range a.Services {
		a.parts = append(a.parts, &part{service: service{ID: id}, last: -1, live: map[int]string{}, gone: map[int]bool{}, owner: a})
	}
	w.apps = append(w.apps, a)
	w.check(a)
}

func (w *writer) deploy(p *part) {
	if p == nil || len(p.live) >= 5 {
		w.undeploy(p)
		return
	}
	p.asked++
	f, status, data := w.ask(http.MethodPost, "/api/service/"+p.ID+"/instance", nil)
	switch f {
	case never:
		p.asked--
	case refused:
		w.lost("deploy %s: %d %s", p.ID, status, data)
	case unknown:
		before := len(p.live)
		w.checkPart(p, true)
		w.count.happened += len(p.live) - before
	case done:
		var answer struct {
			Number *int `json:"instance_number"`
		}
		if err := json.Unmarshal(data, &answer); err != nil || answer.Number == nil {
			w.lost("deploy %s: %v %s", p.ID, err, data)
		}
		w.count.deploys++
		w.enter(p, *answer.Number)
	}
}

// enter notes a new instance: its number is greater than every one before, and
// no number was left out beyond those that were asked for.
func (w *writer) enter(p *part, number int) {
	if number <= p.last || number >= p.asked {
		w.lost("service %s got instance %d after %d, asked %d times", p.ID, number, p.last, p.asked)
	}
	p.last, p.live[number] = number, ""
}

func (w *writer) undeploy(p *part) {
	if p == nil || len(p.live) == 0 {
		return
	}
	numbers := slices.Sorted(func(yield func(int) bool) {
		for n := range p.live {
			if !yield(n) {
				return
			}
		}
	})
	which := -1
	if w.rng.IntN(5) != 0 {
		which = numbers[w.rng.IntN(len(numbers))]
		numbers = []int{which}
	}
	for _, n := range numbers {
		w.ledger.leave(time.Now(), p.live[n])
	}
	f, status, data := w.ask(http.MethodDelete, fmt.Sprintf("/api/service/%s/instance/%d", p.ID, which), nil)
	switch f {
	case never:
		return
	case refused:
		w.lost("undeploy %s/%d: %d %s", p.ID, which, status, data)
	case done:
		w.count.undeploys++
		for _, n := range numbers {
			delete(p.live, n)
			p.gone[n] = true
		}
	case unknown:
		// Each instance by itself: an order to end all is not one write.
		listed := w.instances(p)
		for _, n := range numbers {
			if _, ok := listed[n]; !ok {
				w.count.happened++
				delete(p.live, n)
				p.gone[n] = true
			}
		}
	}
}

// remove ends an application, or one service of it.
func (w *writer) remove(a *app, whole bool) {
	path, parts := "/api/application/"+a.ID, a.parts
	if !whole && len(a.parts) > 0 {
		parts = []*part{a.parts[w.rng.IntN(len(a.parts))]}
		path = "/api/service/" + parts[0].ID
	} else {
		whole = true
	}
	for _, p := range parts {
		w.ledger.leave(time.Now(), p.addresses()...)
	}
	f, status, data := w.ask(http.MethodDelete, path, nil)
	switch f {
	case never:
		return
	case refused:
		w.lost("delete %s: %d %s", path, status, data)
	case done:
		w.count.deletes++
	case unknown:
		var any json.RawMessage
		if w.read(path, &any) {
			w.check(a)
			return
		}
		w.count.happened++
	}
	gone := &app{application: application{Name: a.Name}, parts: parts}
	if whole {
		gone.ID = a.ID
		w.apps = slices.DeleteFunc(w.apps, func(v *app) bool { return v == a })
	} else {
		a.parts = slices.DeleteFunc(a.parts, func(v *part) bool { return v == parts[0] })
	}
	w.dead = append(w.dead, gone)
	w.checkDead(gone)
}

// rename gives the writer's organization its next name: of two writes to one
// record the later one counts.
func (w *writer) rename() {
	w.made++
	next := fmt.Sprintf("%sr%d", w.name, w.made)
	f, status, data := w.ask(http.MethodPut, "/api/organization/"+w.org.ID, map[string]any{"name": next})
	switch f {
	case never:
	case refused:
		w.lost("rename to %s: %d %s", next, status, data)
	case done:
		w.count.renames++
		w.orgName = []string{next}
	case unknown:
		w.orgName = append(w.orgName, next)
		if w.checkName(); w.orgName[0] == next {
			w.count.happened++
		}
	}
}
