package crash

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const writersAtOnce = 50

// TestKilledUnderWriters kills the root again and again while 50 clients
// write: what was acknowledged is there, what was deleted stays gone.
func TestKilledUnderWriters(t *testing.T) {
	kills := int(number(t, "OAK_TEST_KILLS", 20))
	seed := number(t, "OAK_SEED", time.Now().UnixNano())
	t.Logf("OAK_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(uint64(seed), 0))

	r := newRoot(t)
	r.start()
	r.serve(30 * time.Second)
	token := login(t, r)
	book := newLedger()
	var writers []*writer
	for i := range writersAtOnce {
		w := &writer{
			client: newClient(r, token), t: t, rng: rand.New(rand.NewPCG(uint64(seed), uint64(i+1))), ledger: book,
			name: fmt.Sprintf("w%d", i), eager: i%2 == 1, checked: r.now(),
		}
		w.org.Name, w.orgName = w.name, []string{w.name}
		w.must(t, "POST", "/api/organization/", map[string]any{"name": w.name, "member": []any{}}, nil)
		writers = append(writers, w)
	}
	var orgs []organization
	writers[0].must(t, "GET", "/api/organization/", nil, &orgs)
	for _, w := range writers {
		for _, o := range orgs {
			if o.Name == w.name {
				w.org = o
			}
		}
	}

	begin := time.Now()
	var running sync.WaitGroup
	for _, w := range writers {
		running.Go(w.run)
	}
	var slowest time.Duration
	early, done := 0, 0
	for done < kills && !t.Failed() {
		if rng.IntN(5) == 0 { // while it starts, or reads its store
			early++
			time.Sleep(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
		} else {
			slowest = max(slowest, r.serve(30*time.Second))
			time.Sleep(time.Duration(rng.Int64N(int64(800 * time.Millisecond))))
		}
		r.kill()
		if done++; done%10 == 0 {
			pages(t, filepath.Join(r.data, "root.db"))
		}
		r.start()
	}
	slowest = max(slowest, r.serve(30*time.Second))
	r.finish()
	running.Wait()
	took := time.Since(begin)

	var sum counts
	for _, w := range writers {
		if !t.Failed() {
			w.checkAll()
		}
		sum.add(w.count)
	}
	audit(t, writers[0].client, writers)
	r.kill()
	dissect(t, r, writers)
	verdict := "0 acknowledged writes lost"
	if t.Failed() {
		verdict = "WRITES LOST, see above"
	}
	t.Logf("COUNT: %d kills -9 (%d before the root was ready) under %d writers in %.0f s, OAK_SEED=%d: %s", done, early, len(writers), took.Seconds(), seed, verdict)
	t.Logf("COUNT: %d writes acknowledged: %d applications created, %d instances deployed, %d undeployed, %d deleted, %d renamed",
		sum.writes(), sum.creates, sum.deploys, sum.undeploys, sum.deletes, sum.renames)
	t.Logf("COUNT: %d writes with unknown outcome, of which %d had happened; %d reads compared, %d requests not taken; slowest start %s",
		sum.unknown, sum.happened, sum.reads, sum.refused, slowest.Round(time.Millisecond))
}
