package control

import (
	"regexp"
	"testing"
	"time"
)

func TestIDsSortByAgeAndDiffer(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{24}$`)
	now := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	g, other := newIDs(), newIDs()
	last := ""
	for range 1000 {
		id := g.next(now)
		if !form.MatchString(id) {
			t.Fatalf("id %q has not the form clients expect", id)
		}
		if id <= last {
			t.Fatalf("id %s does not sort after %s", id, last)
		}
		last = id
	}
	if g.next(now)[:18] == other.next(now)[:18] {
		t.Error("two processes make the same ids")
	}
	if later := g.next(now.Add(time.Second)); later <= last {
		t.Errorf("id %s of a later second does not sort after %s", later, last)
	}
}
