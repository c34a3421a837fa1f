package crash

import (
	"encoding/json"
	"slices"
	"time"
)

// checkSome looks at one thing that must exist, one that must not, and the
// name: more would leave no time to write before the next kill.
func (w *writer) checkSome() {
	if len(w.apps) > 0 {
		w.check(w.someApp())
	}
	if len(w.dead) > 0 {
		w.checkDead(w.dead[w.rng.IntN(len(w.dead))])
	}
	w.checkName()
}

// checkAll looks at everything that was ever asked for.
func (w *writer) checkAll() {
	for _, a := range w.apps {
		w.check(a)
	}
	for _, a := range w.dead {
		w.checkDead(a)
	}
	w.checkName()
}

// check compares an application that exists with what the root shows.
func (w *writer) check(a *app) {
	var seen application
	if !w.read("/api/application/"+a.ID, &seen) {
		w.lost("application %s (%s) is lost", a.Name, a.ID)
	}
	if seen.Name != a.Name || len(seen.Services) != len(a.parts) {
		w.lost("application %s with %d services is shown as %+v", a.Name, len(a.parts), seen)
	}
	for _, p := range a.parts {
		if !slices.Contains(seen.Services, p.ID) {
			w.lost("application %s has no service %s: %+v", a.Name, p.ID, seen)
		}
		w.checkPart(p, false)
	}
}

// checkPart compares a service with what the root shows. When a request to
// deploy may have been carried out, one more instance may be there.
func (w *writer) checkPart(p *part, maybe bool) {
	listed := w.instances(p)
	for n := range p.live {
		if _, ok := listed[n]; !ok {
			w.lost("instance %d of service %s is lost: %v are listed", n, p.ID, listed)
		}
	}
	for n := range listed {
		if p.gone[n] {
			w.lost("instance %d of service %s was deleted and is back", n, p.ID)
		}
		if _, ok := p.live[n]; ok {
			continue
		}
		if !maybe {
			w.lost("instance %d of service %s appeared: %v are listed", n, p.ID, listed)
		}
		maybe = false
		w.enter(p, n)
		p.live[n] = listed[n]
	}
}

// instances reads those of a service with their addresses.
func (w *writer) instances(p *part) map[int]string {
	var seen service
	if !w.read("/api/service/"+p.ID, &seen) {
		w.lost("service %s of %s is lost", p.ID, p.owner.Name)
	}
	if seen.Address == "" || p.Address != "" && p.Address != seen.Address {
		w.lost("service %s had address %q, now %q", p.ID, p.Address, seen.Address)
	}
	p.Name, p.Address = seen.Name, seen.Address
	now, listed := time.Now(), map[int]string{}
	for address, holder := range holders([]service{seen}) {
		if err := w.ledger.see(address, holder, now); err != nil {
			w.lost("%v", err)
		}
	}
	for _, in := range seen.Instances {
		if _, twice := listed[in.Number]; twice || in.Address == "" {
			w.lost("service %s lists instance %d twice or without address: %+v", p.ID, in.Number, seen.Instances)
		}
		if was := p.live[in.Number]; was != "" && was != in.Address {
			w.lost("instance %d of service %s had address %s, now %s", in.Number, p.ID, was, in.Address)
		}
		listed[in.Number] = in.Address
		if _, known := p.live[in.Number]; known {
			p.live[in.Number] = in.Address
		}
	}
	return listed
}

// checkDead looks for what was deleted.
func (w *writer) checkDead(a *app) {
	var any json.RawMessage
	if a.ID != "" && w.read("/api/application/"+a.ID, &any) {
		w.lost("application %s (%s) was deleted and is back", a.Name, a.ID)
	}
	for _, p := range a.parts {
		if w.read("/api/service/"+p.ID, &any) {
			w.lost("service %s of %s was deleted and is back", p.ID, a.Name)
		}
	}
}

// checkName compares the organization's name, and settles what it is.
func (w *writer) checkName() {
	var list []organization
	if !w.read("/api/organization/", &list) {
		w.lost("no organizations")
	}
	at := slices.IndexFunc(list, func(o organization) bool { return o.ID == w.org.ID })
	if at < 0 {
		w.lost("organization %s is lost", w.org.ID)
	}
	if !slices.Contains(w.orgName, list[at].Name) {
		w.lost("organization %s is called %q, want %q", w.org.ID, list[at].Name, w.orgName)
	}
	w.orgName = []string{list[at].Name}
}
