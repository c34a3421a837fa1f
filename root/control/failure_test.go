package control

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"oakestra/pkg/core/address"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
)

// failing is a store whose disk is full when the test says so.
type failing struct {
	store.Store
	full bool
}

var errFull = errors.Join(errs.Exhausted, errors.New("disk full"))

func (f *failing) Descriptors() store.Descriptors {
	return failingDescriptors{f.Store.Descriptors(), f}
}
func (f *failing) Instances() store.Instances { return failingInstances{f.Store.Instances(), f} }

type failingDescriptors struct {
	store.Descriptors
	f *failing
}

func (d failingDescriptors) Commit(ctx context.Context, in store.Descriptor) error {
	if d.f.full {
		return errFull
	}
	return d.Descriptors.Commit(ctx, in)
}

type failingInstances struct {
	store.Instances
	f *failing
}

func (i failingInstances) Add(ctx context.Context, s model.ServiceID, a netip.Addr, at time.Time) (store.Instance, error) {
	if i.f.full {
		return store.Instance{}, errFull
	}
	return i.Instances.Add(ctx, s, a, at)
}

// pool is the domain's pool, used by one goroutine.
type pool struct{ *address.ServicePool }

func (p pool) PickService(_ context.Context, job string, chosen netip.Addr) (netip.Addr, error) {
	if chosen.IsValid() {
		return chosen, p.Claim(chosen, job)
	}
	return p.Next(job)
}
func (p pool) PickInstance(context.Context) (netip.Addr, error) { return p.Next("instance") }
func (p pool) Cancel(a netip.Addr)                              { p.Release(a) }
func (p pool) Retire(a netip.Addr, until time.Time)             { p.Quarantine(a, until) }

// quiet is a root without clusters.
type quiet struct{ Below }

func (quiet) Facts(model.InstanceID) (InstanceView, bool) { return InstanceView{}, false }
func (quiet) Clusters() []ClusterView                     { return nil }
func (quiet) Waits(model.InstanceID) (instance.Word, []instance.Reason) {
	return "", nil
}
func (quiet) Wake(model.ServiceID, ...int) {}
func (quiet) Recovery() (bool, []string)   { return false, nil }

func TestAddressesComeBackWhenTheStoreFails(t *testing.T) {
	s, _, err := boltstore.Open(filepath.Join(t.TempDir(), "root.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	body, err := os.ReadFile("../../deploy/deploy_curl_application.json")
	if err != nil {
		t.Fatal(err)
	}
	f, p, who := &failing{Store: s, full: true}, pool{address.NewServicePool()}, Caller{Name: "ann"}
	c := New(Deps{Store: f, Addresses: p, Below: quiet{}})

	if _, err := c.CreateApplications(t.Context(), who, body); !errors.Is(err, errs.Exhausted) {
		t.Fatalf("create on a full disk: %v", err)
	}
	if p.Len() != 0 {
		t.Errorf("%d addresses stay reserved after a failed create", p.Len())
	}
	f.full = false
	if _, err := c.CreateApplications(t.Context(), who, body); err != nil {
		t.Fatal(err)
	}
	services, err := c.Services(t.Context(), who, "")
	if err != nil || len(services) != 2 {
		t.Fatalf("%d services, %v", len(services), err)
	}
	if services[0].Chosen || !services[1].Chosen || services[1].Address != netip.MustParseAddr("10.30.30.30") {
		t.Errorf("chosen addresses are not remembered: %+v", services)
	}
	before := p.Len()
	f.full = true
	if _, err := c.Deploy(t.Context(), who, services[0].ID); !errors.Is(err, errs.Exhausted) {
		t.Fatalf("deploy on a full disk: %v", err)
	}
	if p.Len() != before {
		t.Errorf("%d addresses stay reserved after a failed deploy, want %d", p.Len(), before)
	}
}
