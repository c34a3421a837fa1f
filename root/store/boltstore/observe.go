package boltstore

import (
	"errors"
	"time"

	"oakestra/pkg/errs"
)

// observer is told how long reads and writes take; nil for nobody.
type observer func(write bool, took time.Duration, err error)

// Observe has every later read and write told to f. Call it before the store
// is used.
func (s *Store) Observe(f func(write bool, took time.Duration, err error)) { s.watch = f }

// since tells how long something took. What is not there, or taken, is an
// answer and no failure.
func (o observer) since(write bool, start time.Time, err *error) {
	if o == nil {
		return
	}
	failed := *err
	if !errors.Is(failed, errs.Unavailable) && !errors.Is(failed, errs.Internal) && !errors.Is(failed, errs.Exhausted) {
		failed = nil
	}
	o(write, time.Since(start), failed)
}
