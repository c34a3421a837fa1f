package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
)

// Record is what is remembered.
type Record struct {
	Version     int    `json:"version"`
	Incarnation uint32 `json:"incarnation"`
	// Issued is the last grant that was given out, or one before it: it grows
	// with the store, so that an old copy is known within an incarnation, too.
	Issued    uint64    `json:"issued_grant,omitempty"`
	Clusters  []Cluster `json:"clusters"`
	AdminHash string    `json:"admin_password_hash,omitempty"`
}

// Cluster is one that had joined.
type Cluster struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	KeyHash string `json:"key_hash"`
}

const version = 1

// File is the record on disk. Methods may be called from any goroutine.
type File struct {
	path string
	mu   sync.Mutex
	last Record
}

// Open reads the file; a missing one is an empty record.
func Open(path string) (*File, error) {
	f := &File{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the witness file: %w", err)
	}
	if err := json.Unmarshal(data, &f.last); err != nil {
		return nil, fmt.Errorf("the witness file %s is damaged (%w); if this root never lost its store, delete it and start again", path, err)
	}
	if f.last.Version > version {
		return nil, fmt.Errorf("the witness file %s is of version %d, this program knows %d: use a newer one", path, f.last.Version, version)
	}
	return f, nil
}

// Record is what the file says.
func (f *File) Record() Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Save writes a record, durably, unless it is what the file says already.
func (f *File) Save(r Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Version = version
	if reflect.DeepEqual(r, f.last) {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(f.path, append(data, '\n')); err != nil {
		return fmt.Errorf("write the witness file: %w", err)
	}
	f.last = r
	return nil
}

// replace writes beside the file, syncs, and renames: a crash leaves the old
// file or the new one.
func replace(path string, data []byte) error {
	tmp, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
