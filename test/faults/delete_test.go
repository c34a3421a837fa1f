package faults

import (
	"testing"
	"time"
)

// TestDeletedWhileCutOff is F13: a service is deleted while a worker of it is
// cut off for two minutes, and another one while the whole cluster is.
func TestDeletedWhileCutOff(t *testing.T) {
	long(t)
	f := startField(t)
	for _, c := range []struct{ what, machine, app, address string }{
		{"its worker", "w2", "one", "10.30.1.1"},
		{"the root's link to its cluster", "root", "two", "10.30.1.2"},
	} {
		f.step(t, c.what, func() {
			t := f.user.t
			ids := f.create(c.app, spec{name: "server", image: nginx, address: c.address})
			f.scale(ids["server"], 4)
			f.waitRunning(ids["server"], 4, time.Minute)
			f.check()
			down := f.cut(c.machine)
			after(down, 5*time.Second) // both sides still think all is well
			f.must("DELETE", "/api/application/"+ids["application"], nil, nil)
			if code, err := f.do("GET", "/api/service/"+ids["server"], nil, nil); code != 404 {
				t.Errorf("the deleted service is there: %d %v", code, err)
			}
			again := f.create(c.app, spec{name: "server", image: nginx})
			figure(t, "with %s cut off, the name of the deleted service was used again at once", c.what)
			after(down, 2*time.Minute)
			up := f.heal(c.machine)
			took := eventually(t, "no container of it is left", time.Minute, func() error { return f.exactly(ids["server"], 0) })
			promise(t, "from the heal of "+c.what+" to the last container gone", took, 5*time.Second)
			f.check()
			figure(t, "from the heal of %s until nothing is left anywhere: %s", c.what, time.Since(up).Round(100*time.Millisecond))
			f.scale(again["server"], 2)
			f.waitRunning(again["server"], 2, time.Minute)
			r, err := f.recovery()
			f.fatal(err)
			if len(r.Unknown) > 0 {
				t.Errorf("left over: %+v", r.Unknown)
			}
		})
	}
}
