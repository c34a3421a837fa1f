package auth

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

var resetForm = regexp.MustCompile(`oakreset_[0-9a-f]{16}_[0-9a-f]{64}`)

// ask carries a request out as Run would and returns the tokens in the log.
func (r *rig) ask(t *testing.T, name string) []string {
	t.Helper()
	if err := r.RequestReset(t.Context(), name, "", inside); err != nil {
		t.Fatal(err)
	}
	if err := r.reset(t.Context(), <-r.resets); err != nil {
		t.Fatal(err)
	}
	found := resetForm.FindAllString(r.log.String(), -1)
	r.log.Reset()
	return found
}

func TestWithoutMailTheOperatorGetsTheToken(t *testing.T) {
	r := newRig(t, "a password")
	session := r.mustLogin(t, "a password")
	if got := r.ask(t, "nobody"); len(got) != 0 {
		t.Errorf("a token for nobody: %v", got)
	}
	first := r.ask(t, AdminName)
	if len(first) != 1 {
		t.Fatalf("the log holds %v", first)
	}
	stored, err := r.store.Tokens().List(t.Context(), AdminName)
	if err != nil || len(stored) != 1 || strings.Contains(fmt.Sprintf("%+v", stored), first[0][len(first[0])-64:]) {
		t.Fatalf("stored %+v, %v", stored, err)
	}
	if got := r.ask(t, AdminName); len(got) != 0 {
		t.Errorf("another one within a minute: %v", got)
	}
	r.clock = r.clock.Add(resetPause)
	second := r.ask(t, AdminName)
	if len(second) != 1 {
		t.Fatalf("the log holds %v", second)
	}
	if err := r.FinishReset(t.Context(), first[0], "long enough", inside); !errors.Is(err, BadResetToken) {
		t.Errorf("a replaced token: %v", err)
	}
	if err := r.FinishReset(t.Context(), second[0], "long enough", inside); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context(), session.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a login from before: %v", err)
	}
	r.mustLogin(t, "long enough")
}

func TestAResetTokenEnds(t *testing.T) {
	r := newRig(t, "a password")
	token := r.ask(t, AdminName)[0]
	r.clock = r.clock.Add(resetLife)
	if err := r.FinishReset(t.Context(), token, "long enough", inside); !errors.Is(err, BadResetToken) {
		t.Errorf("after an hour: %v", err)
	}
}

// A token of the one kind is not one of the other.
func TestKindsOfTokensDoNotMix(t *testing.T) {
	r := newRig(t, "a password")
	reset := r.ask(t, AdminName)[0]
	if _, err := r.Verify(t.Context(), strings.Replace(reset, resetPrefix, apiPrefix, 1)); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a reset token opened the API: %v", err)
	}
	id, err := r.Verify(t.Context(), r.mustLogin(t, "a password").Token)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := r.CreateToken(t.Context(), id, "ci", []string{ScopeRead}, start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.FinishReset(t.Context(), strings.Replace(key, apiPrefix, resetPrefix, 1), "long enough", inside); !errors.Is(err, BadResetToken) {
		t.Errorf("an API token set a password: %v", err)
	}
	if _, err := r.Verify(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	first := lastUse(t, r)
	r.clock = r.clock.Add(usedWithin - time.Second)
	if _, err := r.Verify(t.Context(), key); err != nil || !lastUse(t, r).Equal(first) {
		t.Errorf("every use is written, or %v", err)
	}
	r.clock = r.clock.Add(time.Second)
	if _, err := r.Verify(t.Context(), key); err != nil || lastUse(t, r).Equal(first) {
		t.Errorf("later use is not noted, or %v", err)
	}
	r.clock = start.Add(time.Hour)
	if _, err := r.Verify(t.Context(), key); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("after its end: %v", err)
	}
}

func lastUse(t *testing.T, r *rig) time.Time {
	t.Helper()
	list, err := r.store.Tokens().List(t.Context(), AdminName)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		if k.Kind == store.TokenAPI {
			return k.LastUsed
		}
	}
	return time.Time{}
}
