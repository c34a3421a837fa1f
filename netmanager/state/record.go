package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"oakestra/netmanager/plan"
	"oakestra/netmanager/table"
	"oakestra/pkg/errs"
)

// Version of the file's format. An unknown one is refused, never guessed.
const Version = 1

// Registration says who this node is and where its cluster's broker is.
type Registration struct {
	Node    string
	Address string
	Port    int
	Key     string `json:",omitempty"`
}

// Container is one attached container.
type Container struct {
	Pid       int
	StartTime uint64
	Netns     uint64
	Grant     uint64
	Try       uint32
	PortText  string
	Attached  bool // its interface and rules were in
	Listed    bool // the cluster's table has named it
	Leaving   bool // undeploy was asked for and is not through yet
	plan.Endpoint
}

// Record is the content of the file.
type Record struct {
	Version      int
	Registration Registration
	Subnet       netip.Prefix
	Containers   []Container
	Quarantine   map[netip.Addr]time.Time // until when an address stays unused
	Last         netip.Addr               // given out last
	Tables       map[string]table.Table
	Peers        map[string]table.Peer
	Interests    []string
}

// File is the record on disk. Make it with Open; one caller at a time.
type File struct{ path string }

// Open names the file inside dir; it touches nothing.
func Open(dir string) *File { return &File{filepath.Join(dir, "state.json")} }

// Load reads the record; a missing file is an empty one. A file that makes no
// sense is errs.Invalid and names the file: it may describe running containers,
// so it is never thrown away here.
func (f *File) Load() (Record, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{Version: Version}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("read %s: %w", f.path, err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("read %s: %w: %w", f.path, errs.Invalid, err)
	}
	if r.Version != Version {
		return Record{}, fmt.Errorf("read %s: format %d is not %d: %w", f.path, r.Version, Version, errs.Invalid)
	}
	return r, nil
}

// Save replaces the file. What it returns nil for is on the disk.
func (f *File) Save(r Record) error {
	r.Version = Version
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if err := replace(dir, f.path, text); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

func replace(dir, path string, text []byte) (err error) {
	next, err := os.CreateTemp(dir, ".state-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(next.Name())
		}
	}()
	_, err = next.Write(text)
	err = errors.Join(err, next.Sync(), next.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(next.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Remove deletes the file; a missing one is no error. Called by purge.
func (f *File) Remove() error {
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}
