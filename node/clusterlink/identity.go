package clusterlink

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"oakestra/pkg/errs"
)

// Identity is what a worker keeps for ever: its secret key, the id its
// cluster gave it, and where that cluster's broker was last.
type Identity struct {
	Key      string `json:"key"`
	ID       string `json:"id,omitempty"`
	Broker   string `json:"broker,omitempty"` // host name or address
	MQTTPort int    `json:"mqtt_port,omitempty"`
}

// String hides the key.
func (i Identity) String() string { return "worker " + i.ID }

// LoadIdentity reads identity.json in a directory, or makes a new one there.
func LoadIdentity(dir string) (Identity, error) {
	var i Identity
	text, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &i); err != nil || i.Key == "" {
			return i, fmt.Errorf("identity in %s is damaged; remove the file to join as a new worker: %w", dir, errs.Invalid)
		}
		return i, nil
	case !errors.Is(err, fs.ErrNotExist):
		return i, fmt.Errorf("identity: %w: %w", err, errs.Internal)
	}
	i.Key = randomHex(32)
	return i, i.Save(dir)
}

// Save writes identity.json, readable by its owner alone.
func (i Identity) Save(dir string) error {
	text, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("identity: %w: %w", err, errs.Internal)
	}
	path := filepath.Join(dir, "identity.json")
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("identity: %w: %w", err, errs.Internal)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("identity: %w: %w", err, errs.Internal)
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
