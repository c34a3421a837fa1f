package boltstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/errs"
)

// Buckets. Records are JSON under their id; an index maps a unique name to an
// id, or lists ids under a prefix with an empty value.
var (
	bucketApplications  = []byte("applications")
	bucketServices      = []byte("services")
	bucketInstances     = []byte("instances") // <service>/<number, 10 digits>
	bucketClaims        = []byte("claims")    // <address, 4 or 16 bytes>
	bucketBlocks        = []byte("blocks")    // <prefix text>
	bucketClusters      = []byte("clusters")
	bucketUsers         = []byte("users") // <name>
	bucketOrganizations = []byte("organizations")
	bucketTokens        = []byte("tokens")
	bucketMeta          = []byte("meta")
	bucketLeases        = []byte("leases") // <name>

	indexApplicationNames = []byte("index.application-names") // owner NUL name NUL namespace
	indexServiceNames     = []byte("index.service-names")     // owner NUL job name
	indexApplicationParts = []byte("index.application-services")
	indexClusterNames     = []byte("index.cluster-names")

	allBuckets = [][]byte{
		bucketApplications, bucketServices, bucketInstances, bucketClaims, bucketBlocks, bucketClusters,
		bucketUsers, bucketOrganizations, bucketTokens, bucketMeta, bucketLeases, indexApplicationNames, indexServiceNames, indexApplicationParts, indexClusterNames,
	}
)

// joined is an index key; NUL cannot occur in a name.
func joined(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

// load reads one record; NotFound when it is absent.
func load[R versioned](b *bucket, key []byte) (R, error) {
	raw := b.Get(key)
	if raw == nil {
		var none R
		return none, errs.NotFound
	}
	return read[R](b, key, raw)
}

// scan reads every record whose key has the prefix, in key order.
func scan[R versioned](b *bucket, prefix []byte, each func(key []byte, r R) error) error {
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		r, err := read[R](b, k, v)
		if err != nil {
			return fmt.Errorf("record %q: %w", k, err)
		}
		if err := each(k, r); err != nil {
			return err
		}
	}
	return nil
}

const (
	// A reading of a whole bucket remembers its records only when they are not
	// more: with 100 000 services the start of a root held each of them twice.
	scanRemembers = 1 << 15
	// decodedAtOnce is worth a goroutine.
	decodedAtOnce = 1 << 12
)

// all reads a whole bucket, in key order. Decoding is what takes the time, so
// that a long bucket is decoded on all cores.
func all[R versioned, T any](b *bucket, convert func(key []byte, r R) (T, error)) ([]T, error) {
	type pair struct{ key, raw []byte } // valid while the transaction lasts
	var list []pair
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		list = append(list, pair{k, v})
	}
	if len(list) == 0 {
		return nil, nil
	}
	remember := len(list) <= scanRemembers
	out := make([]T, len(list))
	g := errgroup.Group{}
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(list); from += decodedAtOnce {
		part := func() error {
			var r R
			for i := from; i < min(from+decodedAtOnce, len(list)); i++ {
				err := look(b, list[i].key, list[i].raw, remember, &r)
				if err == nil {
					out[i], err = convert(list[i].key, r)
				}
				if err != nil {
					return fmt.Errorf("record %q: %w", list[i].key, err)
				}
			}
			return nil
		}
		if len(list) <= decodedAtOnce {
			return out, part()
		}
		g.Go(part)
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// keys lists the last parts of all index keys that begin with the prefix and NUL.
func keys(b *bucket, prefix string) []string {
	p := joined(prefix, "")
	var out []string
	c := b.Cursor()
	for k, _ := c.Seek(p); k != nil && bytes.HasPrefix(k, p); k, _ = c.Next() {
		out = append(out, string(k[len(p):]))
	}
	return out
}

func save(b *bucket, key []byte, record any) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record %q: %w", key, errors.Join(errs.Internal, err))
	}
	return put(b, key, raw)
}

// saveRead saves a record that was read, with other plain fields, and remembers
// it: the next to add to a service need not decode what this one encoded. What
// it points to is that of the one that was read, which never changes.
func saveRead[R versioned](b *bucket, key []byte, record R) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record %q: %w", key, errors.Join(errs.Internal, err))
	}
	if err := put(b, key, raw); err != nil {
		return err
	}
	if b.recall != nil {
		b.recall.put(key, maphash.Bytes(b.recall.seed, raw), record)
	}
	return nil
}

func put(b *bucket, key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("empty key for %s: %w", value, errs.Invalid)
	}
	if err := b.Put(key, value); err != nil {
		return storage(err)
	}
	return nil
}

func remove(b *bucket, key []byte) error {
	if err := b.Delete(key); err != nil {
		return storage(err)
	}
	if b.recall != nil {
		b.recall.drop(key)
	}
	return nil
}

// number reads a counter of the meta bucket; absent is 0.
func number(b *bucket, key []byte) (uint64, error) {
	raw := b.Get(key)
	switch len(raw) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(raw), nil
	}
	return 0, fmt.Errorf("counter %s has %d bytes: %w", key, len(raw), errs.Internal)
}

func setNumber(b *bucket, key []byte, n uint64) error {
	return put(b, key, binary.BigEndian.AppendUint64(nil, n))
}
