package root_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
	"oakestra/root"
	"oakestra/root/store"
	"oakestra/root/store/mongostore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mongoEnv names a real MongoDB, as for the tests of mongostore.
const mongoEnv = "OAK_TEST_MONGO_URI"

func TestTakeoverOnASharedStoreInMemory(t *testing.T) {
	st := shared(t)
	takeover(t, func() store.Store { return st })
}

func TestTakeoverOnMongoDB(t *testing.T) {
	server := os.Getenv(mongoEnv)
	if server == "" {
		t.Skipf("SKIPPED: needs a MongoDB (a replica set); run: %s=mongodb://host:27017 go test ./root", mongoEnv)
	}
	base, query, _ := strings.Cut(server, "?")
	uri := strings.TrimSuffix(base, "/") + "/oaktest_" + strings.ToLower(rand.Text()) + "?" + query
	open := func() store.Store {
		s, _, err := mongostore.Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	keeper, _, err := mongostore.Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(keeper.Drop(context.Background()), keeper.Close()); err != nil {
			t.Error(err)
		}
	})
	takeover(t, open)
}

// takeover kills the holder under writers and cluster links. open gives each
// manager its way to the store.
func takeover(t *testing.T, open func() store.Store) {
	st := open()
	a := launch(t, open())
	u := newUser(t)
	u.login(a)
	b := launch(t, open())
	svc := u.service(b, st) // through the one that forwards
	id, linkEnded := join(t, b)

	var acked []int
	unanswered := 0
	stop, stopped := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	lastAck := func() (time.Time, int) {
		mu.Lock()
		defer mu.Unlock()
		return time.Now(), len(acked)
	}
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			var out struct {
				Number int `json:"instance_number"`
			}
			status := u.call(b, http.MethodPost, "/api/service/"+string(svc)+"/instance", nil, &out)
			mu.Lock()
			if status == http.StatusOK {
				acked = append(acked, out.Number)
			} else {
				unanswered++
			}
			mu.Unlock()
		}
	}()
	testkit.Eventually(t, 10*time.Second, func() error {
		if _, n := lastAck(); n < 5 {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})

	died, stalled := time.Now(), stalls()
	a.kill()
	_, before := lastAck()
	testkit.Eventually(t, 30*time.Second, func() error {
		if _, n := lastAck(); n <= before {
			return errors.New("nobody has taken over")
		}
		return nil
	})
	took, lost := time.Since(died), stalled()
	t.Logf("writes are taken again after %s, of which this machine slept %s", took, lost)
	if took-lost > 5*time.Second {
		t.Error("that is more than 5 s")
	}
	<-linkEnded
	again, _ := join(t, b)
	c := launch(t, open()) // one that comes later forwards
	third, ended := join(t, c)
	if again != id || third != id {
		t.Errorf("the cluster is %s, then %s, then %s", id, again, third)
	}
	close(stop)
	<-stopped
	check(t, b.cord, svc, acked, unanswered)
	if got := u.call(c, http.MethodGet, "/api/clusters/active", nil, nil); got != http.StatusOK {
		t.Errorf("through the third: %d", got)
	}

	// The holder that stops in order hands over, and its links end.
	b.stop()
	<-ended
	u.token = ""
	u.login(c)
}

// stalls measures until it is asked for how long this process did not get to
// run, beyond what is usual: a busy machine proves nothing about a takeover.
func stalls() (sum func() time.Duration) {
	const tick, usual = 10 * time.Millisecond, 50 * time.Millisecond
	stop, out := make(chan struct{}), make(chan time.Duration)
	go func() {
		var lost time.Duration
		for last := time.Now(); ; {
			select {
			case <-stop:
				out <- lost
				return
			case <-time.After(tick):
			}
			if gap := time.Since(last); gap > usual {
				lost += gap
			}
			last = time.Now()
		}
	}()
	return func() time.Duration { close(stop); return <-out }
}

// check looks for every acknowledged write, once.
func check(t *testing.T, st store.Store, svc model.ServiceID, acked []int, unanswered int) {
	t.Helper()
	list, err := st.Instances().List(t.Context(), svc)
	if err != nil {
		t.Fatal(err)
	}
	stored := map[int]bool{}
	for _, in := range list {
		stored[in.ID.Number] = true
	}
	seen := map[int]bool{}
	for _, n := range acked {
		if seen[n] {
			t.Errorf("number %d was acknowledged twice", n)
		}
		seen[n] = true
		if !stored[n] {
			t.Errorf("number %d was acknowledged and is not stored", n)
		}
	}
	if extra := len(stored) - len(acked); extra > unanswered {
		t.Errorf("%d are stored, %d were acknowledged, %d were not answered", len(stored), len(acked), unanswered)
	}
	t.Logf("%d acknowledged, %d stored, %d calls failed meanwhile", len(acked), len(stored), unanswered)
}

// A holder that cannot renew serves no more before another one does, and
// forwards then.
func TestAHolderThatIsCutOffStepsDown(t *testing.T) {
	st := shared(t)
	a := launch(t, st)
	u := newUser(t)
	u.login(a)
	b := launch(t, st)
	_, ended := join(t, a)
	a.set(true)
	<-ended
	u.token = ""
	u.login(b)
	a.set(false)
	u.token = ""
	u.login(a) // it knows whom to ask
	if _, n := join(t, a); n == nil {
		t.Error("no link")
	}
	l, err := st.Leases().Get(t.Context(), "root")
	if err != nil || l.Address != b.d.Addr().String() || l.Term < 2 {
		t.Errorf("%+v %v", l, err)
	}
}

// Streams of events end with the term that has them, at the holder and at
// those that forward; they can be had again from the next one.
func TestStreamsEndWithTheTerm(t *testing.T) {
	st := shared(t)
	a := launch(t, st)
	u := newUser(t)
	u.login(a)
	b := launch(t, st)
	direct, through := u.watch(a), u.watch(b)
	stays(t, "the direct stream", direct)
	stays(t, "the forwarded stream", through)
	a.set(true)
	ends(t, "the direct stream", direct)
	ends(t, "the forwarded stream", through)
	u.token = ""
	u.login(b)
	a.set(false)
	next := u.watch(b)
	stays(t, "the stream of the next term", next)
	b.stop()
	ends(t, "the stream of the next term", next)
	u.token = ""
	u.login(a) // whose second term begins anew
	again := u.watch(a)
	stays(t, "the stream of the third term", again)
	a.stop()
	ends(t, "the stream of the third term", again)
}

// A manager that is alone ends streams when it stops, and does not wait for
// those who read them.
func TestStreamsEndWhenAManagerStops(t *testing.T) {
	m := launch(t, shared(t), func(d *root.Deps) { d.Shared = false })
	u := newUser(t)
	if got := u.call(m, http.MethodGet, "/api/clusters/active", nil, nil); got != http.StatusUnauthorized { // at once, and never 503
		t.Errorf("the first call: %d", got)
	}
	u.login(m)
	stream := u.watch(m)
	begin := time.Now()
	m.stop()
	ends(t, "the stream", stream)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("stopping took %s", took)
	}
}
