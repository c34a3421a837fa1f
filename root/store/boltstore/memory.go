package boltstore

import (
	"hash/maphash"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// remembering are the buckets whose decoded records stay in memory: those that
// requests read again and again. Decoding was a third of a GET, and half of
// what a root with many waiting instances did (docs/benchmarks.md).
var remembering = [][]byte{bucketServices, bucketInstances, bucketApplications, bucketUsers, bucketOrganizations, bucketTokens}

// memory holds decoded records by bucket. It needs no invalidation: a record
// is used only while the stored bytes are those that it was decoded from,
// known by a keyed 64-bit hash, so that every transaction sees its own truth.
// It costs about as much as the records; see docs/benchmarks.md.
type memory struct {
	seed    maphash.Seed
	buckets map[string]*recall
}

// recall is the memory of one bucket.
type recall struct {
	seed    maphash.Seed
	mu      sync.RWMutex
	records map[string]remembered
}

type remembered struct {
	sum    uint64 // of the stored bytes
	record any    // never changed: what leaves this package is a copy
}

func newMemory() *memory {
	m := &memory{seed: maphash.MakeSeed(), buckets: map[string]*recall{}}
	for _, b := range remembering {
		m.buckets[string(b)] = &recall{seed: m.seed, records: map[string]remembered{}}
	}
	return m
}

func (r *recall) get(key []byte, sum uint64) (any, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, ok := r.records[string(key)]
	return v.record, ok && v.sum == sum
}

func (r *recall) put(key []byte, sum uint64, record any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records[string(key)] = remembered{sum, record}
}

func (r *recall) drop(key []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.records, string(key))
}

// txn is a transaction whose buckets know what was decoded before.
type txn struct {
	*bolt.Tx
	memory *memory
}

// bucket is a bucket of a txn; recall is nil where nothing is remembered.
type bucket struct {
	*bolt.Bucket
	recall *recall
}

// Bucket is nil when there is none of that name.
func (t *txn) Bucket(name []byte) *bucket {
	b := t.Tx.Bucket(name)
	if b == nil {
		return nil
	}
	return &bucket{b, t.memory.buckets[string(name)]}
}

// read decodes a record, or remembers it.
func read[R versioned](b *bucket, key, raw []byte) (R, error) {
	if b.recall == nil {
		return decode[R](raw)
	}
	sum := maphash.Bytes(b.recall.seed, raw)
	if v, ok := b.recall.get(key, sum); ok {
		if r, ok := v.(R); ok {
			return r, nil
		}
	}
	r, err := decode[R](raw)
	if err == nil {
		b.recall.put(key, sum, r)
	}
	return r, err
}
