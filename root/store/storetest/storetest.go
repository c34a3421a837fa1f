package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// Factory opens the store that lives in dir, making it when there is none.
// Opened again with the same dir, it has to hold what was written before.
type Factory func(t *testing.T, dir string) store.Store

// Option changes what Run does.
type Option func(*options)

type options struct{ without map[string]string }

// Without leaves a test out, and prints that with the reason. It is for a
// server that stands in for the real one and cannot keep a promise which the
// real one keeps.
func Without(test, reason string) Option {
	return func(o *options) { o.without[test] = reason }
}

// Run checks every promise of the store interfaces.
func Run(t *testing.T, open Factory, opts ...Option) {
	o := options{without: map[string]string{}}
	for _, f := range opts {
		f(&o)
	}
	tests := map[string]func(*testing.T, *bench){
		"applications":                          applications,
		"services":                              services,
		"service updates":                       serviceUpdates,
		"instances":                             instances,
		"instance addresses":                    instanceAddresses,
		"instances put in recovery":             instancesPut,
		"instance updates compare the revision": instanceUpdates,
		"claims":                                claims,
		"blocks":                                blocks,
		"clusters":                              clusters,
		"users":                                 users,
		"organizations":                         organizations,
		"tokens":                                tokens,
		"concurrent deletes of a token, one wins": concurrentTokenDeletes,
		"meta":                         meta,
		"leases":                       leases,
		"a descriptor is stored whole": descriptorWhole,
		"a descriptor with a conflict stores none": descriptorNothing,
		"removing":                                removing,
		"a removed service can come back":         comeback,
		"concurrent adds number without gaps":     concurrentAdds,
		"concurrent updates lose nothing":         concurrentUpdates,
		"concurrent commits, one wins":            concurrentCommits,
		"concurrent claims, one wins":             concurrentClaims,
		"concurrent grants are distinct":          concurrentGrants,
		"concurrent takers of a lease, one wins":  concurrentLeases,
		"everything is there after opening again": reopening,
		"values are not shared":                   unshared,
		"a cancelled context stops early":         cancelled,
	}
	for name := range o.without {
		if tests[name] == nil {
			t.Errorf("there is no test %q to leave out", name)
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if reason, out := o.without[name]; out {
				t.Skipf("LEFT OUT %q: %s", name, reason)
			}
			b := &bench{open: open, dir: t.TempDir(), ctx: t.Context()}
			b.Store = open(t, b.dir)
			t.Cleanup(func() { ok(t, b.Close()) })
			test(t, b)
		})
	}
}

// bench is one open store of a test.
type bench struct {
	store.Store
	open Factory
	dir  string
	ctx  context.Context
}

// reopen closes the store and opens it again.
func (b *bench) reopen(t *testing.T) {
	t.Helper()
	ok(t, b.Close())
	b.Store = b.open(t, b.dir)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("want no error, got: %v", err)
	}
}

// in checks the class of an error.
func in(t *testing.T, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("want an error of class %q, got: %v", class, err)
	}
}

func same[T any](t *testing.T, got, want T) {
	t.Helper()
	opts := []cmp.Option{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}
	if d := cmp.Diff(want, got, opts...); d != "" {
		t.Fatalf("want - got +\n%s", d)
	}
}

var (
	now   = time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	later = time.Now().UTC().Add(time.Hour).Truncate(time.Second)
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// app makes an application with a valid id.
func app(n int, owner, name string) model.Application {
	return model.Application{
		ID: model.ApplicationID(fmt.Sprintf("a%023x", n)), Name: name, Namespace: "test", Description: "about " + name, Owner: owner,
	}
}

// svc makes a service of an application, with everything filled in.
func svc(n int, of model.Application, name, address string) model.Service {
	s := model.Service{
		ID: model.ServiceID(fmt.Sprintf("5%023x", n)), Application: of.ID, Owner: of.Owner, Revision: 1, Chosen: n%2 == 0,
		Name: model.ServiceName{App: of.Name, AppNamespace: of.Namespace, Service: name, ServiceNamespace: "test"},
		Spec: model.ServiceSpec{
			Image: "docker.io/library/nginx:latest", Runtime: "container", Command: []string{"sh", "-c", "x"}, Environment: []string{"A=b"},
			Demand: model.Resources{MilliCPU: 1500, MemoryMB: 100, GPUs: 1, DiskMB: 5}, PortText: "80:90/tcp;53:53/udp",
			Ports:       []model.Port{{Host: 80, Container: 90, Protocol: model.TCP}, {Host: 53, Container: 53, Protocol: model.UDP}},
			Constraints: []model.Constraint{{Type: "direct", Cluster: "c1", Nodes: []string{"n1", "n2"}}, {Type: "clusters", Allowed: []string{"c1"}}},
			Arch:        []string{"amd64"}, OneShot: true, OnClusterLoss: "replace",
			MaxUnavailable: 2, StartSeconds: 30, Kept: `{"state":"s"}`,
		},
	}
	if address != "" {
		s.Address = addr(address)
	}
	return s
}

// seed stores one application with two services.
func (b *bench) seed(t *testing.T) (model.Application, []model.Service) {
	t.Helper()
	a := app(1, "ann", "shop")
	s := []model.Service{svc(1, a, "web", "10.30.1.1"), svc(2, a, "db", "10.30.1.2")}
	ok(t, b.Descriptors().Commit(b.ctx, store.Descriptor{Applications: []model.Application{a}, Services: s}))
	return a, s
}

// claimOf is the claim of an address, or a zero one.
func (b *bench) claimOf(t *testing.T, a netip.Addr) store.Claim {
	t.Helper()
	list, err := b.Claims().List(b.ctx)
	ok(t, err)
	for _, c := range list {
		if c.Address == a {
			return c
		}
	}
	return store.Claim{}
}
