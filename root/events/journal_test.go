package events

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"oakestra/pkg/core/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var web = model.Service{ID: "s1", Application: "a1", Owner: "ann", Name: model.ServiceName{App: "app", Service: "web"}}

func all(Event) bool { return true }

// clock is a journal whose time a test moves.
func clock() (*Journal, *time.Time) {
	now := time.Unix(1000, 0)
	j := NewJournal(func() time.Time { return now })
	j.Begin(7)
	return j, &now
}

func TestPartsAreListedUnderTheWhole(t *testing.T) {
	j, _ := clock()
	j.Record(OfApplication(model.Application{ID: "a1", Name: "app", Owner: "ann"}).Say(Normal, "Created", "by ann"))
	j.Record(OfService(web).Say(Normal, "Created", "by ann"))
	j.Record(Of(web, 3).Say(Normal, "Wanted", "by ann").Under(Subject{Cluster, "c1", "kitchen"}))
	for _, c := range []struct {
		t    Type
		id   string
		want int
	}{{Application, "a1", 3}, {Service, "s1", 2}, {Instance, "s1/3", 1}, {Cluster, "c1", 1}, {Instance, "s1/4", 0}} {
		if got := j.List(c.t, c.id); len(got) != c.want {
			t.Errorf("%s %s: %d events, want %d", c.t, c.id, len(got), c.want)
		}
	}
}

func TestRepeatsAreCountedUnderANewID(t *testing.T) {
	j, now := clock()
	for range 5 {
		*now = now.Add(time.Minute)
		j.Record(Of(web, 0).Say(Warning, "Failed", "no such image"))
		j.Record(Of(web, 0).Say(Normal, "Placed", "on w1"))
	}
	got := j.List(Service, "s1")
	if len(got) != 2 || got[0].Count != 5 || got[0].ID.Seq != 9 || got[0].First != time.Unix(1060, 0).UTC() {
		t.Fatalf("%+v", got)
	}
	*now = now.Add(mergeWithin)
	j.Record(Of(web, 0).Say(Warning, "Failed", "no such image"))
	if got := j.List(Service, "s1"); len(got) != 3 || got[2].Count != 1 {
		t.Fatalf("a late repeat must be an event of its own: %+v", got)
	}
}

func TestANoisySubjectDoesNotPushOutOthers(t *testing.T) {
	j, _ := clock()
	j.Record(OfCluster("c1", "kitchen").Say(Normal, "Joined", ""))
	for i := range 3 * Most {
		j.Record(Of(web, 0).Say(Warning, "Failed", "%d", i))
	}
	if len(j.List(Cluster, "c1")) != 1 || len(j.List(Instance, "s1/0")) != MostOwn {
		t.Errorf("%d and %d events", len(j.List(Cluster, "c1")), len(j.List(Instance, "s1/0")))
	}
}

// Whatever is recorded: the bounds hold, ids grow in every list, and nothing
// stays in an index that was dropped.
func TestBoundsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j, now := clock()
		for range rapid.IntRange(0, 2000).Draw(t, "n") {
			*now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "s")) * time.Second)
			e := Of(web, rapid.IntRange(0, 20).Draw(t, "slot")).Under(Subject{Cluster, "c1", ""})
			j.Record(e.Say(Normal, "X", "%d", rapid.IntRange(0, 200).Draw(t, "message")))
		}
		listed := 0
		for r, l := range j.bySubj {
			if l.Len() > MostListed || l.Len() == 0 {
				t.Fatalf("%v has %d", r, l.Len())
			}
			listed += l.Len()
			var last ID
			for _, e := range j.List(r.Type, r.ID) {
				if !last.Less(e.ID) {
					t.Fatalf("%v: %v after %v", r, e.ID, last)
				}
				last = e.ID
			}
		}
		if len(j.latest) > j.all.Len() {
			t.Fatalf("%d repeats of %d events", len(j.latest), j.all.Len())
		}
	})
}

func TestResumeSeesEverythingOnceAndSaysWhatIsMissing(t *testing.T) {
	j, _ := clock()
	for i := range 10 {
		j.Record(Of(web, i).Say(Normal, "Wanted", ""))
	}
	s, err := j.Subscribe(&ID{7, 6}, all)
	if err != nil || s.Missed || len(s.Backlog) != 4 || s.Backlog[0].ID.Seq != 7 {
		t.Fatalf("%+v, %v", s, err)
	}
	j.Record(Of(web, 11).Say(Normal, "Wanted", ""))
	if e := <-s.C; e.ID.Seq != 11 {
		t.Errorf("%+v", e)
	}
	s.Close()
	s.Close()
	if _, open := <-s.C; open || s.Slow() {
		t.Error("Close must close, and is not slowness")
	}
	// Of an earlier start of the root: nobody knows what came in between.
	if s, _ := j.Subscribe(&ID{6, 3}, all); !s.Missed || len(s.Backlog) != 11 {
		t.Errorf("missed %v, backlog %d", s.Missed, len(s.Backlog))
	}
	for i := range 2 * MostOwn {
		j.Record(Of(web, 0).Say(Normal, "X", "%d", i))
	}
	if s, _ := j.Subscribe(&ID{7, 11}, all); !s.Missed {
		t.Error("dropped events must be told")
	}
	if s, _ := j.Subscribe(nil, all); s.Missed || s.Backlog != nil {
		t.Error("a reader without an id wants what comes next")
	}
}

func TestASlowReaderIsCutAndOthersAreNot(t *testing.T) {
	j, _ := clock()
	slow, _ := j.Subscribe(nil, all)
	quick, _ := j.Subscribe(nil, func(e Event) bool { return e.Subject.Type == Cluster })
	for i := range mostWaiting + 1 {
		j.Record(Of(web, i).Say(Normal, "Wanted", ""))
	}
	j.Record(OfCluster("c1", "kitchen").Say(Normal, "Joined", ""))
	n := 0
	for range slow.C {
		n++
	}
	if n != mostWaiting || !slow.Slow() || quick.Slow() || len(quick.C) != 1 {
		t.Errorf("slow read %d, slow %v, quick %v", n, slow.Slow(), quick.Slow())
	}
	if s := j.Stats(); s.Cut != 1 || s.Readers != 1 {
		t.Errorf("%+v", s)
	}
}

func TestReadersAreBounded(t *testing.T) {
	j, _ := clock()
	for range mostReaders {
		if _, err := j.Subscribe(nil, all); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Subscribe(nil, all); err == nil {
		t.Error("one reader too many")
	}
}

func TestIDsGrowOverStarts(t *testing.T) {
	a, b := NewJournal(nil), NewJournal(nil)
	a.Record(OfCluster("c", "").Say(Normal, "Joined", "")) // before Begin
	s, _ := a.Subscribe(nil, all)
	a.Begin(1<<32 | 5)
	b.Begin(1<<32 | 9)
	b.Record(OfCluster("c", "").Say(Normal, "Joined", ""))
	first, second := (<-s.C).ID, b.List(Cluster, "c")[0].ID
	if !first.Less(second) || first.Start == 0 {
		t.Errorf("%v, then %v", first, second)
	}
	if back, err := ParseID(second.String()); err != nil || back != second {
		t.Errorf("%v becomes %v, %v", second, back, err)
	}
	for _, bad := range []string{"", "1", "-", "x-1", "1-x"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("%q is no id", bad)
		}
	}
}

// The figure in docs/operations.md.
func TestAFullJournalFitsIntoItsFigure(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	j := NewJournal(nil)
	for i := range Most {
		svc := web
		svc.ID = model.ServiceID(fmt.Sprintf("%024d", i/4))
		j.Record(Of(svc, i%4).Say(Normal, "StateChanged", "CREATED -> RUNNING on worker-%d: %060d", i, i).Under(Subject{Cluster, "c1", "kitchen"}, Subject{Node, fmt.Sprint("c1/", i%100), ""}))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc-before.HeapAlloc) >> 20
	t.Logf("%d events take %d MiB", Most, used)
	if used > 16 {
		t.Errorf("%d MiB", used)
	}
	runtime.KeepAlive(j)
}
