package auth

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

func TestWhoHoldsATokenIsRememberedForAMomentAndNotBeyondItsEnd(t *testing.T) {
	h := &holders{}
	for i := range 3 * maxHolders {
		h.put(fmt.Sprint(i), holder{found: start, ends: start.Add(trust / 2)})
	}
	if len(h.of) > maxHolders {
		t.Errorf("%d tokens remembered", len(h.of))
	}
	h.put("short", holder{found: start, ends: start.Add(trust / 2)})
	h.put("endless", holder{found: start})
	for when, want := range map[time.Duration][2]bool{
		-1: {}, 0: {true, true}, trust/2 - 1: {true, true}, trust / 2: {false, true}, trust - 1: {false, true}, trust: {},
	} {
		_, short := h.get("short", start.Add(when))
		_, endless := h.get("endless", start.Add(when))
		if got := [2]bool{short, endless}; got != want {
			t.Errorf("at %s: %v, want %v", when, got, want)
		}
	}
	if _, ok := h.get("another", start); ok {
		t.Error("a token nobody put")
	}
	h.wrote()
	if _, ok := h.get("endless", start); ok {
		t.Error("accounts were written, and it is still trusted")
	}
	h.put("read before", holder{found: start, era: 0})
	if _, ok := h.get("read before", start); ok {
		t.Error("what was read before the write counts")
	}
}

// What another process writes is seen when the moment is over.
func TestAChangeThatAnotherProcessMadeIsSeenWithinTheTrust(t *testing.T) {
	r := newRig(t, "a password")
	s := r.mustLogin(t, "a password")
	if _, err := r.Verify(t.Context(), s.Token); err != nil {
		t.Fatal(err)
	}
	elsewhere := r.store.(noted).Accounts.Users() // not by way of this Auth
	if _, err := elsewhere.Update(t.Context(), AdminName, func(u store.User) (store.User, error) {
		u.Roles = []string{RoleApplication}
		return u, nil
	}); err != nil {
		t.Fatal(err)
	}
	id, err := r.Verify(t.Context(), s.Token)
	if err != nil || !id.Admin() {
		t.Fatalf("%v, %v: nothing was remembered", id.Roles, err)
	}
	r.clock = r.clock.Add(trust)
	id, err = r.Verify(t.Context(), s.Token)
	if err != nil || id.Admin() {
		t.Errorf("%v, %v: the role is gone", id.Roles, err)
	}
	if err := elsewhere.Delete(t.Context(), AdminName); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(trust)
	if _, err := r.Verify(t.Context(), s.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("the user is gone, but: %v", err)
	}
}
