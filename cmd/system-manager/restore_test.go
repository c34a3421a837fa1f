package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oakestra/pkg/core/model"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

func TestRestoreLeadsIntoRecovery(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	st, _, err := boltstore.Open(filepath.Join(dir, "old", "root.db"))
	must(err)
	must(st.Meta().SetIncarnation(t.Context(), 7))
	must(st.Clusters().Put(t.Context(), store.Cluster{Cluster: model.Cluster{ID: "c1", Name: "kitchen"}, KeyHash: "h"}))
	var b bytes.Buffer
	_, err = st.Backup(t.Context(), &b)
	must(err)
	must(st.Close())
	file := filepath.Join(dir, "backup.db")
	must(os.WriteFile(file, b.Bytes(), 0o600))

	var out strings.Builder
	fresh := filepath.Join(dir, "new machine")
	must(restore(fresh, file, &out))
	memory, err := witness.Open(filepath.Join(fresh, "witness.json"))
	must(err)
	// Later than the store: assign takes that for an old copy and recovers.
	if r := memory.Record(); r.Incarnation != 8 || len(r.Clusters) != 1 || r.Clusters[0].Name != "kitchen" || r.Clusters[0].KeyHash != "h" {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"kitchen", "oak recover --accept"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q does not say %q", out.String(), want)
		}
	}
	// Again, over what is there.
	out.Reset()
	must(restore(fresh, file, &out))
	if !strings.Contains(out.String(), "root.db.before-") {
		t.Errorf("%q", out.String())
	}
}
