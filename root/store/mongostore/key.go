package mongostore

import (
	"context"
	"crypto/rand"
	"errors"

	"oakestra/pkg/errs"
)

// Key is a random secret of that many bytes, the same for every process on
// this database. The first to ask makes it.
func (s *Store) Key(ctx context.Context, name string, size int) ([]byte, error) {
	keys := newTable[keyRecord](s, "keys", "key")
	fresh := make([]byte, size)
	_, _ = rand.Read(fresh) // never fails
	err := keys.insert(ctx, &keyRecord{Head{ID: name}, fresh})
	if err == nil {
		return fresh, nil
	}
	if !errors.Is(err, errs.Conflict) {
		return nil, err
	}
	r, err := keys.get(ctx, name)
	if err != nil {
		return nil, err
	}
	return r.Key, nil
}
