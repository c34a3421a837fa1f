package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"oakestra/pkg/core/address"
	"oakestra/pkg/errs"
	"oakestra/root/store/boltstore"
)

// locked is a pool for many goroutines.
type locked struct {
	mu sync.Mutex
	pool
}

func (l *locked) PickService(ctx context.Context, job string, chosen netip.Addr) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool.PickService(ctx, job, chosen)
}

func (l *locked) PickInstance(ctx context.Context) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pool.PickInstance(ctx)
}

func (l *locked) Cancel(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.Cancel(a)
}

func (l *locked) Retire(a netip.Addr, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.Retire(a, until)
}

// A disk that is full in the middle of an apply leaves a state from which the
// same apply goes on; no address is lost.
func TestApplyingAgainMendsWhatFailedInBetween(t *testing.T) {
	s, _, err := boltstore.Open(filepath.Join(t.TempDir(), "root.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	f, p, who := &failing{Store: s, full: true}, &locked{pool: pool{address.NewServicePool()}}, Caller{Name: "ann"}
	c := New(Deps{Store: f, Addresses: p, Below: quiet{}})
	shop := func(image string, replicas int) []byte {
		return fmt.Appendf(nil, `{"applications":[{"application_name":"shop","application_namespace":"test","microservices":[
			{"microservice_name":"web","microservice_namespace":"test","code":%q,"replicas":%d}]}]}`, image, replicas)
	}
	if _, err := c.Apply(t.Context(), who, shop("v1", 0), false); !errors.Is(err, errs.Exhausted) || p.Len() != 0 {
		t.Fatalf("%d addresses, %v", p.Len(), err)
	}
	f.full = false
	if out, err := c.Apply(t.Context(), who, shop("v1", 0), false); err != nil || len(out.Created) != 2 || p.Len() != 1 {
		t.Fatalf("%+v, %d addresses, %v", out, p.Len(), err)
	}
	f.full = true
	if _, err := c.Apply(t.Context(), who, shop("v2", 3), false); !errors.Is(err, errs.Exhausted) || p.Len() != 1 {
		t.Fatalf("%d addresses, %v", p.Len(), err)
	}
	f.full = false
	out, err := c.Apply(t.Context(), who, shop("v2", 3), false)
	if err != nil || len(out.Changed) != 1 || out.Changed[0].What != "replicas 0 to 3" || p.Len() != 4 {
		t.Fatalf("%+v, %d addresses, %v", out, p.Len(), err)
	}
	list, err := c.Services(t.Context(), who, "")
	if err != nil || len(list) != 1 || list[0].Spec.Image != "v2" || len(list[0].Slots) != 3 || list[0].Service.Revision != 2 {
		t.Errorf("%+v %v", list, err)
	}
	if out, err := c.Apply(t.Context(), who, shop("v2", 3), false); err != nil || len(out.Left) != 2 || len(out.Created)+len(out.Changed) != 0 {
		t.Errorf("twice: %+v %v", out, err)
	}
}
