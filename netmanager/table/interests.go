package table

import (
	"maps"
	"slices"
	"time"
)

// MaxInterests bounds how many services one node talks to without hosting them.
const MaxInterests = 4096

// IdleAfter is how long an interest lives without a tracked connection.
const IdleAfter = 5 * time.Minute

// Interests are the job names this node asked for, each with the time it was
// last seen in use.
type Interests map[string]time.Time

// Add notes an interest, false when there are too many.
func (i Interests) Add(name string, now time.Time) bool {
	if _, known := i[name]; !known && len(i) >= MaxInterests {
		return false
	}
	i[name] = now
	return true
}

// Names in order.
func (i Interests) Names() []string { return slices.Sorted(maps.Keys(i)) }

// Expire takes which names are in use now, and removes and returns those that
// have not been for IdleAfter.
func (i Interests) Expire(used map[string]bool, now time.Time) []string {
	var gone []string
	for _, name := range i.Names() {
		switch {
		case used[name]:
			i[name] = now
		case now.Sub(i[name]) >= IdleAfter:
			delete(i, name)
			gone = append(gone, name)
		}
	}
	return gone
}
