package boltstore

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

var update = flag.Bool("update", false, "write the golden file")

var sampleService = model.Service{
	ID: "s1", Application: "a1", Owner: "ann", Address: netip.MustParseAddr("10.30.1.1"), Chosen: true, NextNumber: 3, Revision: 4,
	Name: model.ServiceName{App: "a", AppNamespace: "b", Service: "c", ServiceNamespace: "d"},
	Spec: model.ServiceSpec{
		Image: "nginx", Runtime: "container", Command: []string{"sh"}, Environment: []string{"A=b"},
		Demand: model.Resources{MilliCPU: 1500, MemoryMB: 100, GPUs: 1, DiskMB: 5}, PortText: "80:90",
		Ports:       []model.Port{{Host: 80, Container: 90, Protocol: model.TCP}},
		Constraints: []model.Constraint{{Type: "direct", Cluster: "c1", Nodes: []string{"n1"}, Allowed: []string{"c2"}}},
		Arch:        []string{"amd64"}, OneShot: true, OnClusterLoss: "replace",
	},
}

var at = time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)

// samples is one of each record, every field set.
func samples() map[string]any {
	return map[string]any{
		"application": fromApplication(model.Application{ID: "a1", Name: "a", Namespace: "b", Description: "d", Owner: "ann"}),
		"service":     fromService(sampleService),
		"instance": fromInstance(store.Instance{
			ID: model.InstanceID{Service: "s1", Number: 2}, Address: netip.MustParseAddr("10.30.2.2"), Cluster: "c1",
			Grant: instance.MakeGrant(7, 8), Revision: 9, Tombstone: true, CreatedAt: at,
			Service: sampleService,
		}),
		"claim": claimRecord{current(), "a.b.c.d", at},
		"block": blockRecord{current(), "c1"},
		"lease": leaseRecord{current(), "h", "192.0.2.1:10000", 3, 4},
		"cluster": fromCluster(store.Cluster{Cluster: model.Cluster{ID: "c1", Name: "n", Location: "1,2,3",
			Address: netip.MustParseAddr("192.0.2.1")}, KeyHash: "k", CreatedAt: at}),
		"user": fromUser(store.User{ID: "u1", Name: "ann", Email: "e", PasswordHash: "$h", Roles: []string{"Admin"}, Organization: "o",
			CreatedAt: at, MustChangePassword: true}),
		"organization": fromOrganization(store.Organization{ID: "o1", Name: "lab", Members: []store.Member{{User: "u1", Roles: []string{"Admin"}}}, CreatedAt: at}),
		"token": fromToken(store.Token{ID: "t1", Kind: store.TokenAPI, User: "ann", UserID: "u1", Name: "ci", Hash: "h", Scopes: []string{"read"},
			Organization: "o1", Generation: 2, AdvancedAt: at, Revoked: true, CreatedAt: at, ExpiresAt: at, LastUsed: at}),
	}
}

// The stored form may only change together with recordVersion.
func TestRecordsKeepTheirForm(t *testing.T) {
	const path = "testdata/records.json"
	got, err := json.MarshalIndent(samples(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, append(got, '\n'), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
		t.Errorf("stored records would no longer be read; want - got +\n%s", d)
	}
}

func TestRecordsComeBackEqual(t *testing.T) {
	raw, err := json.Marshal(samples()["instance"])
	if err != nil {
		t.Fatal(err)
	}
	r, err := decode[instanceRecord](raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sampleService, r.model().Service, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("want - got +\n%s", d)
	}
}

func TestRecordsOfAnotherVersionAreRefused(t *testing.T) {
	for _, raw := range []string{`{"v":2,"id":"a"}`, `{"id":"a"}`, `{"v":"1"}`, `[]`, ``, `{"v":1,"number":"x"}`} {
		if _, err := decode[instanceRecord]([]byte(raw)); !errors.Is(err, errs.Internal) {
			t.Errorf("%s: got %v, want Internal", raw, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		raw, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := decode[instanceRecord](raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(fromInstance(r.model()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode[instanceRecord](again); err != nil {
			t.Errorf("%s was read, but not what became of it: %v", raw, err)
		}
	})
}
