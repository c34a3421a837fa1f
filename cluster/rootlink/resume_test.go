package rootlink

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/store"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

const many = 1000

// full gives the cluster a thousand slots.
func full(r *rig) {
	for i := range many {
		r.holder.slots = append(r.holder.slots, store.Slot{
			Instance: model.InstanceID{Service: "s", Number: i}, Grant: instance.Grant(i + 1), Revision: uint64(i + 2),
		})
	}
}

// warnings counts what is logged of a missing link, by its error.
type warnings struct {
	slog.Handler
	mu   sync.Mutex
	seen map[string]int
}

func (*warnings) Enabled(context.Context, slog.Level) bool { return true }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler     { return w }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			w.seen[a.Value.String()]++
		}
		return true
	})
	return nil
}

func (w *warnings) of(part string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for text, times := range w.seen {
		if strings.Contains(text, part) {
			n += times
		}
	}
	return n
}

// A manager that is refused for hours says so once a minute, and at once when
// something else is in the way.
func TestARefusalIsNotLoggedAtEveryTry(t *testing.T) {
	logged := &warnings{seen: map[string]int{}}
	refuse := func(r *rig, why string) {
		r.root.mu.Lock()
		defer r.root.mu.Unlock()
		r.root.refusal = status.Error(codes.AlreadyExists, why)
	}
	bubble(t, func(r *rig) {
		r.logger = slog.New(logged)
		refuse(r, "another key")
	}, func(t *testing.T, r *rig) {
		time.Sleep(3*time.Minute - time.Second)
		if n := logged.of("another key"); n != 3 || r.root.count() < 60 {
			t.Errorf("in 3 minutes and %d tries it was said %d times", r.root.count(), n)
		}
		refuse(r, "another name")
		time.Sleep(5 * time.Second)
		if n := logged.of("another name"); n != 1 {
			t.Errorf("another reason was said %d times", n)
		}
	})
}

// A link that broke costs a handful of messages, however much the cluster
// holds, and none of them is an assignment: revisions tell that nothing differs.
func TestAResumeSendsOnlyWhatDiffers(t *testing.T) {
	bubble(t, full, func(t *testing.T, r *rig) {
		time.Sleep(time.Second)
		for n := range 3 {
			synctest.Wait()
			if r.root.count() != n+1 {
				t.Fatalf("%d streams, want %d", r.root.count(), n+1)
			}
			hello, counts, ups := r.root.of(n)
			if len(hello.GetHeld()) != many || hello.GetHeld()[7].GetGrant() != 8 || hello.GetHeld()[7].GetRevision() != 9 || hello.GetBlocks()[0] != "10.18.0.0/22" {
				t.Fatalf("hello %v", hello)
			}
			if counts["hello"] != 1 || counts["report"] != 1 || counts["nodes"] != 1 || counts["applied"] != 1 || counts["aggregate"] != 1 || len(ups) != 5 {
				t.Errorf("stream %d said %v", n, counts)
			}
			for _, u := range ups {
				if rep := u.GetReport(); rep != nil && (!rep.GetSnapshot() || len(rep.GetInstances()) != many) {
					t.Errorf("the report is no snapshot of everything")
				}
			}
			r.cut()
			time.Sleep(2 * time.Second)
		}
		r.holder.mu.Lock()
		defer r.holder.mu.Unlock()
		for _, d := range r.holder.desired {
			if !d.Snapshot || len(d.Changed) != 0 {
				t.Errorf("ordered %v", d)
			}
		}
	})
}

// Who a cluster is survives restarts on both sides; a stream that breaks is the
// same process, a restart is another.
func TestTheIdentityOfACluster(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		synctest.Wait()
		first, _, _ := r.root.of(0)
		if first.GetClusterName() != "kitchen" || first.GetLocation() != "48.15,11.58,1000" || first.GetClusterId() != "" || len(first.GetClusterKey()) < 16 || first.GetManagerPort() != 10100 {
			t.Fatalf("%v", first)
		}
		r.root.server.Stop() // the root goes and comes back
		time.Sleep(time.Minute)
		r.root.serve()
		time.Sleep(time.Minute)
		again, _, _ := r.root.of(1)
		if again.GetClusterKey() != first.GetClusterKey() || again.GetClusterId() != "c1" || again.GetRootIncarnation() != 3 || again.GetSession() != first.GetSession() {
			t.Errorf("after a restart of the root: %v", again)
		}
		r.stop()
		r.start("kitchen")
		synctest.Wait()
		third, _, _ := r.root.of(2)
		if third.GetClusterKey() != first.GetClusterKey() || third.GetClusterId() != "c1" || third.GetSession() == first.GetSession() {
			t.Errorf("after a restart of the cluster: %v", third)
		}
		r.stop()
		r.start("cellar")
		synctest.Wait()
		renamed, _, _ := r.root.of(3)
		if renamed.GetClusterKey() != first.GetClusterKey() || renamed.GetClusterId() != "" || renamed.GetClusterName() != "cellar" {
			t.Errorf("under another name: %v", renamed)
		}
	})
}

// The pauses between tries are short at first and double then, each a quarter
// longer at most, by chance.
func TestPausesBetweenTries(t *testing.T) {
	gaps := map[time.Duration]bool{}
	for range 5 {
		bubble(t, func(r *rig) { r.root.refusal = status.Error(codes.AlreadyExists, "another has the name") }, func(t *testing.T, r *rig) {
			time.Sleep(5 * time.Minute)
			want := pauseMin
			tries := r.root.times()
			for i := 1; i < len(tries); i++ {
				if tries[i-1].Sub(tries[0]) >= quick {
					want = min(2*want, pauseMax)
				}
				gap := tries[i].Sub(tries[i-1])
				if gap < want || gap > want+want/4+10*time.Millisecond {
					t.Errorf("pause %d is %s, want %s to a quarter more", i, gap, want)
				}
				gaps[gap] = true
			}
			if len(tries) < 10 || r.link.Connected() {
				t.Errorf("%d tries, connected %v", len(tries), r.link.Connected())
			}
		})
	}
	if len(gaps) < 20 {
		t.Errorf("only %d different pauses: many clusters would return together", len(gaps))
	}
}

// A root that stops to answer is left, and found again.
func TestASilentRootIsLeft(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		time.Sleep(time.Minute)
		if r.root.count() != 1 || !r.link.Connected() || r.link.ClusterID() != "c1" {
			t.Fatalf("%d streams, connected %v", r.root.count(), r.link.Connected())
		}
		r.root.mu.Lock()
		r.root.mute = true
		r.root.mu.Unlock()
		time.Sleep(30 * time.Second)
		if r.root.count() < 2 {
			t.Error("it still waits")
		}
	})
}

// A root that lost its store is told everything in full, before anything else.
func TestClaimsComeFirst(t *testing.T) {
	bubble(t, func(r *rig) { full(r); r.root.recovery = true }, func(t *testing.T, r *rig) {
		synctest.Wait()
		_, _, ups := r.root.of(0)
		if len(ups) < 2 || len(ups[1].GetClaims().GetAssignments()) != many {
			t.Fatalf("the second message is %T", ups[1].GetBody())
		}
	})
}

// All orders of a large cluster come in one message.
func TestALargeResync(t *testing.T) {
	large := func(r *rig) {
		for i := range 20_000 {
			r.root.changed = append(r.root.changed, &linkv1.Assignment{ServiceId: "aaaaaaaaaaaaaaaaaaaaaaaa", Number: uint32(i), Grant: 1, Revision: 1, Spec: &linkv1.ServiceSpec{
				Image: strings.Repeat("x", 100), Environment: []string{strings.Repeat("y", 300)},
			}})
		}
	}
	bubble(t, large, func(t *testing.T, r *rig) {
		time.Sleep(time.Second)
		synctest.Wait()
		r.holder.mu.Lock()
		defer r.holder.mu.Unlock()
		if len(r.holder.desired) != 1 || len(r.holder.desired[0].Changed) != 20_000 || r.root.count() != 1 {
			t.Errorf("taken %d times, after %d streams", len(r.holder.desired), r.root.count())
		}
	})
}

// A change while the link is up is one message with that change.
func TestOnlyChangesAreSent(t *testing.T) {
	bubble(t, full, func(t *testing.T, r *rig) {
		time.Sleep(time.Second)
		synctest.Wait()
		_, _, before := r.root.of(0)
		r.link.Note("brake", "cluster", "m")
		synctest.Wait()
		_, _, after := r.root.of(0)
		if len(after) != len(before)+1 || after[len(after)-1].GetEvent().GetKind() != "brake" {
			t.Errorf("said %v", after[len(before):])
		}
	})
}

var _ linkv1.LinkServer = (*root)(nil)
