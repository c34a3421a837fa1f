package witness

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhatIsSavedIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.json")
	if got := open(t, path).Record(); !cmp.Equal(got, Record{}) {
		t.Errorf("a missing file is %+v", got)
	}
	want := Record{Incarnation: 7, Issued: 7<<32 + 1<<31 + 1, Clusters: []Cluster{{ID: "i", Name: "n", KeyHash: "k"}}, AdminHash: "h"}
	if err := open(t, path).Save(want); err != nil {
		t.Fatal(err)
	}
	want.Version = version
	if got := open(t, path).Record(); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v: it holds a password's hash, others must not read it", info.Mode(), err)
	}
}

// The desk saves every second; only changes may reach the disk.
func TestTheSameRecordIsNotWrittenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.json")
	f := open(t, path)
	r := Record{Incarnation: 7, Clusters: []Cluster{{ID: "i"}}}
	if err := f.Save(r); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(r); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("written again: %v", err)
	}
	r.Clusters = append(r.Clusters, Cluster{ID: "j"})
	if err := f.Save(r); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Record().Clusters; len(got) != 2 {
		t.Errorf("a change was not written: %+v", got)
	}
}

// A crash while writing leaves what was there.
func TestAHalfWrittenFileDoesNotCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.json")
	if err := open(t, path).Save(Record{Incarnation: 7}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(`{"version":1,"inc`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if got := f.Record().Incarnation; got != 7 {
		t.Errorf("incarnation %d", got)
	}
	if err := f.Save(Record{Incarnation: 8}); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path).Record().Incarnation; got != 8 {
		t.Errorf("incarnation %d after the next save", got)
	}
}

// Reading it as empty would make a root that lost its store look freshly
// installed.
func TestADamagedFileIsAnErrorThatSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"damaged": {`{"version":1,"inc`, "delete it"},
		"empty":   {``, "delete it"},
		"newer":   {`{"version":2}`, "newer"},
	} {
		path := filepath.Join(t.TempDir(), "witness.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFailedSaveIsNotRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	f := open(t, filepath.Join(dir, "witness.json"))
	if err := f.Save(Record{Incarnation: 7}); err == nil {
		t.Fatal("saved into a directory that does not exist")
	}
	if got := f.Record().Incarnation; got != 0 {
		t.Errorf("remembers incarnation %d that is on no disk", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(Record{Incarnation: 7}); err != nil {
		t.Error(err)
	}
}
