package runner_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/node/runtime/fakeruntime"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

var spec = runtime.Spec{Service: "0123456789abcdef01234567", Grant: 1, Try: 1, JobName: "a.b.c.d", Image: "x"}

// start runs a runner in the bubble until the returned stop.
func start(t *testing.T, rt runtime.Runtime, dir, boot string) (*runner.Runner, func()) {
	t.Helper()
	j, err := runner.OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := runner.New(runner.Config{Boot: boot}, runner.Deps{Runtime: rt, Journal: j, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func state(r *runner.Runner) string {
	time.Sleep(time.Minute) // virtual: every step and retry has happened
	synctest.Wait()
	text := ""
	for _, rec := range r.Snapshot() {
		text += fmt.Sprintf("%s %d;", runner.Word(rec.State), rec.Exit)
	}
	return text
}

func want(t *testing.T, r *runner.Runner, word string) {
	t.Helper()
	if got := state(r); got != word {
		t.Errorf("state %q, want %q", got, word)
	}
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, dir := fakeruntime.New(), t.TempDir()
		r, stop := start(t, rt, dir, "b1")
		if err := r.Deploy(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		want(t, r, "RUNNING 0;")
		if err := r.Deploy(t.Context(), spec); err != nil { // again: nothing
			t.Fatal(err)
		}
		newer := spec
		newer.Try = 2
		if err := r.Deploy(t.Context(), newer); err != nil { // does not stop the older
			t.Fatal(err)
		}
		want(t, r, "RUNNING 0;RUNNING 0;")
		stop()
		calls := len(rt.Calls())
		r, stop = start(t, rt, dir, "b1") // adopts
		want(t, r, "RUNNING 0;RUNNING 0;")
		if n := len(rt.Calls()); n != calls {
			t.Errorf("a restart called %v", rt.Calls()[calls:])
		}
		rt.Exit(newer.ID(), 3)
		want(t, r, "RUNNING 0;DEAD 3;")
		target := runner.Target{Service: string(spec.Service), Epoch: instance.Epoch{Grant: 1, Try: 1}}
		if err := r.Delete(t.Context(), target, 0); err != nil {
			t.Fatal(err)
		}
		want(t, r, "DEAD 3;")
		stop()
		r, stop = start(t, rt, dir, "b1") // terminal records are kept
		want(t, r, "DEAD 3;")
		stop()
	})
}

func TestRebootRunsAgainAndVanishedIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, dir := fakeruntime.New(), t.TempDir()
		r, stop := start(t, rt, dir, "b1")
		if err := r.Deploy(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		want(t, r, "RUNNING 0;")
		stop()
		rt.Reboot()
		r, stop = start(t, rt, dir, "b2")
		<-r.Ready()
		if list := r.Snapshot(); len(list) != 1 || !list[0].Restarting {
			t.Errorf("before it runs again: %+v", list)
		}
		want(t, r, "RUNNING 0;")
		if list := r.Snapshot(); len(list) != 1 || list[0].Restarting {
			t.Errorf("once it runs again: %+v", list)
		}
		if list, _ := rt.List(t.Context()); len(list) != 1 || list[0].Phase != runtime.Running {
			t.Errorf("after the reboot: %+v", list)
		}
		rt.Reboot() // tasks vanish while the machine stays up
		want(t, r, "DEAD 137;")
		stop()
	})
}

// late is a runtime whose transfers go on, and tell, after Pull was cut off.
type late struct{ *fakeruntime.Fake }

func (late) Pull(ctx context.Context, _ string, progress func(string)) error {
	go func() {
		time.Sleep(time.Hour)
		progress("pulled")
	}()
	<-ctx.Done()
	return ctx.Err()
}

func TestProgressAfterTheEndIsHeardByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails while a goroutine is left that waits for the loop
		r, stop := start(t, late{fakeruntime.New()}, t.TempDir(), "b1")
		if err := r.Deploy(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		want(t, r, "CREATING 0;")
		stop()
		time.Sleep(2 * time.Hour)
	})
}

// TestDeletedAttemptStaysDeleted: a message that comes late or twice brings
// back nothing, whatever its order; the cluster is told so.
func TestDeletedAttemptStaysDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := fakeruntime.New()
		j, err := runner.OpenJournal(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		r := runner.New(runner.Config{Boot: "b1"}, runner.Deps{Runtime: rt, Journal: j, Log: slog.New(slog.DiscardHandler),
			Changed: func(r runner.Record) { told = append(told, fmt.Sprint(r.Spec.Number, runner.Word(r.State))) }})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		try := func(number int, n uint32) runtime.Spec {
			s := spec
			s.Number, s.Try = number, n
			return s
		}
		end := func(number int, n uint32) {
			t.Helper()
			err := r.Delete(t.Context(), runner.Target{Service: string(spec.Service), Number: number, Epoch: instance.Epoch{Grant: 1, Try: n}}, 0)
			if err != nil {
				t.Fatal(err)
			}
		}
		deploy := func(s runtime.Spec) {
			t.Helper()
			if err := r.Deploy(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		deploy(try(0, 1))
		want(t, r, "RUNNING 0;")
		end(0, 1)
		want(t, r, "")
		deploy(try(0, 1)) // a copy that was under way for a minute
		want(t, r, "")
		end(1, 3)
		deploy(try(1, 2)) // the two have changed places
		want(t, r, "")
		deploy(try(0, 2))
		deploy(try(1, 4)) // newer ones are others
		want(t, r, "RUNNING 0;RUNNING 0;")
		deploy(try(2, 5))
		want(t, r, "RUNNING 0;RUNNING 0;RUNNING 0;")
		rt.Exit(try(2, 5).ID(), 1)
		want(t, r, "RUNNING 0;RUNNING 0;DEAD 1;")
		deploy(try(2, 4)) // its successor is here, though it has ended
		want(t, r, "RUNNING 0;RUNNING 0;DEAD 1;")
		if last := told[len(told)-1]; last != "2UNDEPLOYED" {
			t.Errorf("told %v", told)
		}
		if len(told) < 7 || told[4] != "0UNDEPLOYED" || told[5] != "0UNDEPLOYED" || told[6] != "1UNDEPLOYED" {
			t.Errorf("told %v", told)
		}
	})
}

func TestFailures(t *testing.T) {
	for name, s := range map[string]runtime.Spec{"no image": spec, "no network": {Service: spec.Service, Image: "x", Ports: "80:80"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := fakeruntime.New()
				rt.Fail("Pull", errs.NotFound)
				r, stop := start(t, rt, t.TempDir(), "b1")
				if err := r.Deploy(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				want(t, r, "FAILED 0;")
				stop()
			})
		})
	}
}

// TestDeletionMeansOneAttempt: an older one may serve until its successor does,
// which is not always the one that is deleted.
// An order that cannot be kept is answered: the attempt has failed, in the
// change and in every report, for good. Others are accepted once the disk has
// room.
func TestAnOrderThatCannotBeKeptHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir() + "/attempts"
		j, err := runner.OpenJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		r := runner.New(runner.Config{Boot: "b1"}, runner.Deps{Runtime: fakeruntime.New(), Journal: j, Log: slog.New(slog.DiscardHandler),
			Changed: func(rec runner.Record) {
				said = append(said, fmt.Sprintf("%d %s", rec.Spec.Try, runner.Word(rec.State)))
			}})
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		go func() { _ = r.Run(ctx) }()
		<-r.Ready()
		if err := os.RemoveAll(dir); err != nil { // as good as a full disk
			t.Fatal(err)
		}
		if err := r.Deploy(t.Context(), spec); err == nil {
			t.Fatal("it was accepted")
		}
		want(t, r, "FAILED 0;")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.Deploy(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		want(t, r, "FAILED 0;")
		if why := r.Snapshot()[0].Reason; !strings.Contains(why, "could not be kept") {
			t.Errorf("the reason is %q", why)
		}
		next := spec
		next.Try = 2
		if err := r.Deploy(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		want(t, r, "FAILED 0;RUNNING 0;")
		if err := r.Delete(t.Context(), runner.Target{Service: string(spec.Service), Epoch: spec.Attempt().Epoch}, 0); err != nil {
			t.Fatal(err)
		}
		want(t, r, "RUNNING 0;")
		if d := cmp.Diff([]string{"1 FAILED", "2 CREATING", "2 CREATING", "2 CREATED", "2 RUNNING", "1 UNDEPLOYED"}, said); d != "" {
			t.Errorf("what was said (-want +got):\n%s", d)
		}
	})
}

func TestDeletionMeansOneAttempt(t *testing.T) {
	for _, c := range []struct {
		grant uint64
		try   uint32
		match bool
	}{{5, 2, true}, {5, 1, false}, {4, 9, false}, {5, 3, false}, {6, 1, false}} {
		s := spec
		s.Grant, s.Try = instance.Grant(c.grant), c.try
		if got := (runner.Target{Service: string(spec.Service), Epoch: instance.Epoch{Grant: 5, Try: 2}}).Matches(s); got != c.match {
			t.Errorf("%d/%d: %v", c.grant, c.try, got)
		}
		if !(runner.Target{Service: string(spec.Service)}).Matches(s) {
			t.Errorf("%d/%d does not match without an epoch", c.grant, c.try)
		}
	}
}
