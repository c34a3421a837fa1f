package clusters

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"oakestra/pkg/errs"
)

// Who holds a name, when another says that it is the same cluster.
func TestWhoHoldsAName(t *testing.T) {
	const key, other = "the key", "another process"
	for _, c := range []struct {
		name    string
		process string // of the second
		answers bool   // the first does
		refused bool
	}{
		{"the same process dials again", "one", true, false},
		{"the same process, its first stream is dead", "one", false, false},
		{"another process, the first answers", other, true, true},
		{"another process, the first is dead and its connection is not", other, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				first := r.dial(false).present("kitchen", key, "one")
				if c.answers {
					first.echoes()
				}
				second := r.dial(false).present("kitchen", key, c.process)
				time.Sleep(probeWait)
				synctest.Wait()
				if !c.refused {
					second.ended(codes.OK, "")
					first.ended(codes.Aborted, "newer")
					return
				}
				second.ended(codes.AlreadyExists, "stop one of the two")
				first.ended(codes.OK, "")
				if n := r.told.of("kitchen", "Refused"); len(n) != 1 || !strings.Contains(n[0], "another cluster manager") {
					t.Errorf("events %v", n)
				}
				if len(r.desk.moved) != 1 {
					t.Errorf("the refused one changed something: %v", r.desk.moved)
				}
			})
		})
	}
}

// One with another key has no id yet: its refusal is an event of the cluster
// that has the name, where somebody looks.
func TestARefusalIsAnEventOfTheClusterThatHasTheName(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		first := r.dial(false).present("kitchen", "a key", "one").echoes()
		r.desk.mu.Lock()
		r.desk.refusal = fmt.Errorf("the name belongs to another key: %w", errs.Conflict)
		r.desk.mu.Unlock()
		r.dial(false).present("kitchen", "its own key", "two").ended(codes.AlreadyExists, "another key")
		first.ended(codes.OK, "")
		if n := r.told.of("kitchen", "Refused"); len(n) != 1 || !strings.Contains(n[0], "another key") {
			t.Errorf("events %v of %+v", n, r.told.list)
		}
	})
}
