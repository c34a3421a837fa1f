package assign_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
	"oakestra/root/store"
)

// happening is one thing that befalls a root, its users or its clusters in
// TestALifeOfLosses. Its number picks whom.
type happening struct {
	what   string
	number int
}

var happenings = []string{
	"deploy", "deploy", "deploy", "undeploy", "undeploy", "delete", "leave", "join", "join", "refuse", "mute", "obey", "wait",
	"restart", "lose store", "lose everything", "accept", "restore",
}

// Whatever is lost and whoever is away: when everybody is back and two minutes
// have passed, every slot runs once where the record says, addresses have
// stayed, and nothing that ran was ever ended but by a user's tombstone or
// since it ran elsewhere under a higher grant.
func TestALifeOfLosses(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) happening {
			return happening{rapid.SampledFrom(happenings).Draw(t, "what"), rapid.IntRange(0, 9).Draw(t, "number")}
		}), 1, 25).Draw(rt, "steps")
		var faults []string
		bubble(t, func(t *testing.T) { faults = live(t, steps) })
		if len(faults) > 0 {
			rt.Fatalf("%q", faults)
		}
	})
}

// life is what is known of a world from outside.
type life struct {
	t        *testing.T
	r        *rig
	services []model.ServiceID
	clusters []*fake
	there    map[*fake]bool

	ever    map[model.InstanceID]store.Instance // as last seen while it had a record
	deleted map[model.InstanceID]bool           // by a user, at any time
	surely  map[model.InstanceID]bool           // and nothing was lost since
	given   map[model.InstanceID]bool           // numbers, since something was lost
	looked  map[*fake]int                       // how many events of a cluster were looked at
	restore func(dir string)
	faults  []string
}

func live(t *testing.T, steps []happening) []string {
	l := &life{
		t: t, r: start(t, t.TempDir()), there: map[*fake]bool{}, ever: map[model.InstanceID]store.Instance{},
		deleted: map[model.InstanceID]bool{}, surely: map[model.InstanceID]bool{}, given: map[model.InstanceID]bool{}, looked: map[*fake]int{}, restore: func(string) {},
	}
	for i := range 2 {
		l.services = append(l.services, l.r.service(appName(i+1), wants{memory: 1}).ID)
	}
	for _, name := range []string{"a", "b", "c"} {
		f := newFake(name).join(l.r)
		l.clusters, l.there[f] = append(l.clusters, f), true
	}
	for _, s := range steps {
		l.step(s)
		l.look()
	}
	for _, f := range l.clusters {
		f.set(func(f *fake) { f.refuse, f.mute = false, false })
		if l.there[f] {
			f.tell(func(*fake) *linkv1.Up { return f.report(true) })
		} else {
			f.join(l.r)
		}
	}
	pass(seconds(120))
	l.look()
	l.judge()
	return l.faults
}

func (l *life) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *life) step(s happening) {
	f := l.clusters[s.number%len(l.clusters)]
	switch s.what {
	case "deploy", "undeploy", "delete":
		l.user(s)
	case "leave":
		f.leave()
		l.there[f] = false
	case "join":
		if !l.there[f] {
			f.join(l.r)
			l.there[f] = true
		}
	case "refuse", "mute", "obey":
		f.set(func(f *fake) { f.refuse, f.mute = s.what == "refuse", s.what == "mute" })
		if l.there[f] {
			f.tell(func(*fake) *linkv1.Up { return f.report(true) })
		}
	case "wait":
		pass(seconds(s.number))
	case "restart":
		l.restart()
		l.restore = backup(l.t, l.r.dir, "root.db")
	case "lose store":
		l.restart(loseStore)
	case "lose everything":
		l.restart(loseEverything)
	case "restore":
		l.restart(l.restore)
	case "accept":
		if err := l.r.desk.AcceptRecovery(l.t.Context()); err != nil {
			l.fault("accept: %v", err)
		}
		synctest.Wait()
	}
}

// restart keeps the clusters that are there.
func (l *life) restart(between ...func(string)) {
	pass(seconds(2))
	l.r = l.r.restart(between...)
	if len(between) > 0 {
		clear(l.surely)
		clear(l.given)
	}
	for _, f := range l.clusters {
		if l.there[f] {
			f.leave().join(l.r)
		}
	}
}

// user does what users do. A root in recovery refuses it, and one that lost
// its store may not know the service.
func (l *life) user(s happening) {
	ctx, svc := l.t.Context(), l.services[s.number%len(l.services)]
	switch s.what {
	case "deploy":
		in, err := l.r.ctl.Deploy(ctx, admin, svc)
		l.allowed(err)
		if err == nil {
			if l.given[in.ID] {
				l.fault("number of %s was given before", in.ID)
			}
			l.given[in.ID] = true
			// After a loss a number may come again that nobody remembers.
			delete(l.ever, in.ID)
			delete(l.deleted, in.ID)
			delete(l.surely, in.ID)
		}
	case "undeploy", "delete":
		list, err := l.r.file.Instances().List(ctx, svc)
		l.allowed(err)
		list = slices.DeleteFunc(list, func(in store.Instance) bool { return in.Tombstone })
		number := control.All
		if len(list) > 0 && s.what == "undeploy" {
			i := s.number % len(list)
			list, number = list[i:i+1], list[i].ID.Number
		}
		err = l.r.ctl.Undeploy(ctx, admin, svc, number)
		for _, in := range list {
			if l.allowed(err); err == nil {
				l.deleted[in.ID], l.surely[in.ID] = true, true
			}
		}
	}
	synctest.Wait()
}

func (l *life) allowed(err error) {
	if err != nil && !errors.Is(err, errs.Unavailable) && !errors.Is(err, errs.NotFound) && !errors.Is(err, errs.Conflict) {
		l.fault("%v", err)
	}
}

// look checks what must hold at any time.
func (l *life) look() {
	list, err := l.r.file.Instances().List(l.t.Context(), "")
	l.allowed(err)
	taken := map[string]model.InstanceID{}
	for _, in := range list {
		was, again := l.ever[in.ID]
		if again && was.Grant == in.Grant && (was.Address != in.Address || was.Cluster != in.Cluster) {
			l.fault("%s was %s in %s and became %s in %s under the same grant", in.ID, was.Address, was.Cluster, in.Address, in.Cluster)
		}
		if other, twice := taken[in.Address.String()]; twice {
			l.fault("%s and %s have the address %s", in.ID, other, in.Address)
		}
		taken[in.Address.String()], l.ever[in.ID] = in.ID, in
	}
	for _, f := range l.clusters {
		l.ends(f)
	}
}

// judge checks what must hold in the end.
func (l *life) judge() {
	if l.r.recovering() {
		l.fault("still in recovery")
	}
	runs, unknown := map[model.InstanceID][]*fake{}, map[model.InstanceID]bool{}
	for _, u := range l.r.desk.Unknown() {
		unknown[u.Instance] = true
	}
	for _, f := range l.clusters {
		for _, id := range f.slots() {
			runs[id] = append(runs[id], f)
		}
	}
	list, err := l.r.file.Instances().List(l.t.Context(), "")
	l.allowed(err)
	known := map[model.InstanceID]bool{}
	for _, in := range list {
		known[in.ID] = true
		switch {
		case in.Tombstone:
			l.fault("the tombstone of %s is not carried out", in.ID)
		case len(runs[in.ID]) != 1 || runs[in.ID][0].id != string(in.Cluster):
			l.fault("%s runs in %d clusters", in.ID, len(runs[in.ID]))
		}
	}
	for id := range runs {
		if !known[id] && !unknown[id] {
			l.fault("%s runs, and nobody is told", id)
		}
		if known[id] && l.surely[id] {
			l.fault("%s was deleted and is wanted again", id)
		}
	}
	for _, f := range l.clusters {
		for _, e := range f.past {
			if id := parse(e.slot); !e.ended && len(runs[id]) == 0 && !l.deleted[id] {
				l.fault("%s ran in %s and runs no more", id, f.name)
			}
		}
	}
}

// ends checks why what ran in a cluster was ended.
func (l *life) ends(f *fake) {
	news := f.past[l.looked[f]:]
	l.looked[f] = len(f.past)
	for _, e := range news {
		if !e.ended || l.deleted[parse(e.slot)] {
			continue
		}
		elsewhere := slices.ContainsFunc(l.clusters, func(o *fake) bool {
			return slices.ContainsFunc(o.past, func(b event) bool { return b.slot == e.slot && !b.ended && b.grant > e.grant && !b.at.After(e.at) })
		})
		if !elsewhere {
			l.fault("%s was ended in %s, which nobody wanted", e.slot, f.name)
		}
	}
}

// parse reads a slot as the fakes write it.
func parse(slot string) model.InstanceID {
	service, number, _ := strings.Cut(slot, "/")
	n, _ := strconv.Atoi(number)
	return model.InstanceID{Service: model.ServiceID(service), Number: n}
}
