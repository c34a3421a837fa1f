package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"oakestra/pkg/errs"
)

// Journal keeps one small file per attempt. Written by the loop alone.
type Journal struct{ dir string }

// OpenJournal uses a directory, which it creates.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w: %w", err, errs.Internal)
	}
	return &Journal{dir: dir}, nil
}

func (j *Journal) path(id string) string { return filepath.Join(j.dir, filepath.Base(id)+".json") }

// Save replaces the record of an attempt as a whole.
func (j *Journal) Save(r Record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("journal: %w: %w", err, errs.Internal)
	}
	path := j.path(r.Spec.ID())
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		return fmt.Errorf("journal: %w: %w", err, errs.Internal)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("journal: %w: %w", err, errs.Internal)
	}
	return nil
}

// Forget removes a record; one that is gone is no error.
func (j *Journal) Forget(id string) error {
	if err := os.Remove(j.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("journal: %w: %w", err, errs.Internal)
	}
	return nil
}

// Load reads all records. One that cannot be read (a crash of the machine
// while it was written) is left out: its container brings the assignment back.
func (j *Journal) Load() ([]Record, error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w: %w", err, errs.Internal)
	}
	var out []Record
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(j.dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("journal: %w: %w", err, errs.Internal)
		}
		var r Record
		if json.Unmarshal(body, &r) == nil && r.Spec.ID()+".json" == e.Name() {
			out = append(out, r)
		}
	}
	return out, nil
}
