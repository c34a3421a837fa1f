package crash

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"oakestra/root/store/boltstore"
)

// holders lists whose each address is, as the API shows it.
func holders(list []service) map[string]string {
	out := map[string]string{}
	for _, s := range list {
		out[s.Address] = s.ID
		for _, in := range s.Instances {
			out[in.Address] = fmt.Sprintf("%s/%d", s.ID, in.Number)
		}
	}
	return out
}

// audit compares everything that is listed with everything that must be.
func audit(t *testing.T, c *client, writers []*writer) {
	t.Helper()
	var apps []application
	var services []service
	c.must(t, "GET", "/api/applications/", nil, &apps)
	c.must(t, "GET", "/api/services/", nil, &services)
	var wantApps, gotApps, wantParts, gotParts []string
	for _, w := range writers {
		for _, a := range w.apps {
			wantApps = append(wantApps, a.ID+" "+a.Name)
			for _, p := range a.parts {
				for n := range p.live {
					wantParts = append(wantParts, fmt.Sprintf("%s/%d", p.ID, n))
				}
				wantParts = append(wantParts, p.ID)
			}
		}
	}
	for _, a := range apps {
		gotApps = append(gotApps, a.ID+" "+a.Name)
	}
	for _, s := range services {
		gotParts = append(gotParts, s.ID)
		for _, in := range s.Instances {
			gotParts = append(gotParts, fmt.Sprintf("%s/%d", s.ID, in.Number))
		}
	}
	same(t, "applications", gotApps, wantApps)
	same(t, "services and instances", gotParts, wantParts)
	if n := len(holders(services)); n != len(gotParts) {
		t.Errorf("%d services and instances share %d addresses", len(gotParts), n)
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if slices.Equal(got, want) {
		return
	}
	for _, v := range want {
		if !slices.Contains(got, v) {
			t.Errorf("%s: %s is lost", what, v)
		}
	}
	for _, v := range got {
		if !slices.Contains(want, v) {
			t.Errorf("%s: %s should not be there", what, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d are listed, want %d", what, len(got), len(want))
	}
}

// dissect looks into the file of a root that was killed: every page is sound,
// and every claim has its holder and every holder its claim.
func dissect(t *testing.T, r *root, writers []*writer) {
	t.Helper()
	path := filepath.Join(r.data, "root.db")
	pages(t, path)
	s, fresh, err := boltstore.Open(path)
	if err != nil || fresh {
		t.Fatalf("fresh %v: %v", fresh, err)
	}
	defer s.Close()
	ctx := t.Context()
	services, err1 := s.Services().List(ctx, "")
	slots, err2 := s.Instances().List(ctx, "")
	claims, err3 := s.Claims().List(ctx)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	var got, want []string
	next := map[string]int{}
	for _, v := range services {
		want = append(want, v.Address.String()+" "+v.Name.String())
		next[string(v.ID)] = v.NextNumber
	}
	for _, in := range slots {
		want = append(want, in.Address.String()+" "+in.ID.String())
	}
	resting := 0
	for _, c := range claims {
		if c.Until.IsZero() {
			got = append(got, c.Address.String()+" "+c.Holder)
		} else if resting++; time.Until(c.Until) > 2*time.Minute {
			t.Errorf("claim of %s by %s rests until %s", c.Address, c.Holder, c.Until)
		}
	}
	same(t, "claims", got, want)
	for _, w := range writers {
		for _, a := range w.apps {
			for _, p := range a.parts {
				if n := next[p.ID]; n <= p.last || n > p.asked {
					t.Errorf("service %s: next number %d, the last was %d, asked %d times", p.ID, n, p.last, p.asked)
				}
			}
		}
	}
	t.Logf("in the file: %d services, %d slots, %d claims of which %d rest", len(services), len(slots), len(claims), resting)
}

// pages lets bbolt check its own file.
func pages(t *testing.T, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		var broken []string
		for err := range tx.Check() {
			broken = append(broken, err.Error())
		}
		if broken != nil {
			return fmt.Errorf("the file is damaged: %s", strings.Join(broken, "; "))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
