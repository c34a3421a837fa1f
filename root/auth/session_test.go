package auth

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"oakestra/pkg/errs"
)

func (r *rig) mustRefresh(t *testing.T, token string) Session {
	t.Helper()
	s, err := r.Refresh(t.Context(), token)
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	return s
}

func (r *rig) refused(t *testing.T, what, token string) {
	t.Helper()
	if _, err := r.Refresh(t.Context(), token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("%s: got %v, want Unauthenticated", what, err)
	}
}

// A client of the original keeps its first refresh token for seven days and
// ignores every other.
func TestAClientThatKeepsItsFirstRefreshTokenGoesOn(t *testing.T) {
	r := newRig(t, "a password")
	s := r.mustLogin(t, "a password")
	for range 7 * 24 {
		if _, err := r.Verify(t.Context(), r.mustRefresh(t, s.RefreshToken).Token); err != nil {
			t.Fatal(err)
		}
		r.clock = r.clock.Add(time.Hour - time.Second)
	}
	r.clock = start.Add(7*24*time.Hour + time.Second)
	r.refused(t, "after its life", s.RefreshToken)
	list, err := r.store.Tokens().List(t.Context(), "")
	if err != nil || len(list) != 0 {
		t.Errorf("polling wrote %v, %v", list, err)
	}
}

func TestARotatedRefreshTokenEndsTheLogin(t *testing.T) {
	r := newRig(t, "a password")
	first := r.mustLogin(t, "a password")
	second := r.mustRefresh(t, first.RefreshToken)
	third := r.mustRefresh(t, second.RefreshToken)
	r.clock = r.clock.Add(refreshGrace)
	r.mustRefresh(t, first.RefreshToken)  // an answer was lost
	r.mustRefresh(t, second.RefreshToken) // the one in use may be used again
	r.clock = r.clock.Add(time.Second)
	r.refused(t, "a replaced token after the grace", first.RefreshToken)
	r.refused(t, "the one in use, after the theft", second.RefreshToken)
	r.refused(t, "the newest one, after the theft", third.RefreshToken)
	if _, err := r.Verify(t.Context(), third.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("the access token goes on: %v", err)
	}
	if !strings.Contains(r.log.String(), "may have been stolen") {
		t.Errorf("nobody is told: %s", r.log)
	}
	r.mustRefresh(t, r.mustLogin(t, "a password").RefreshToken) // other logins are not touched
}

// Thief and owner both exchange the same token and both go on with what they
// got; the second one to come ends it.
func TestTwoBranchesOfOneLoginEndIt(t *testing.T) {
	r := newRig(t, "a password")
	first := r.mustLogin(t, "a password")
	owner, thief := r.mustRefresh(t, first.RefreshToken), r.mustRefresh(t, first.RefreshToken)
	owner = r.mustRefresh(t, owner.RefreshToken)
	r.clock = r.clock.Add(refreshGrace + time.Second)
	r.refused(t, "the other branch", thief.RefreshToken)
	r.refused(t, "the owner's branch", owner.RefreshToken)
}

func TestALoginEndsAfterAMonthHoweverOftenItIsRefreshed(t *testing.T) {
	r := newRig(t, "a password")
	s := r.mustLogin(t, "a password")
	for range 4 {
		r.clock = r.clock.Add(7*24*time.Hour - time.Second)
		s = r.mustRefresh(t, s.RefreshToken)
	}
	r.clock = start.Add(sessionLife + time.Second)
	r.refused(t, "after a month", s.RefreshToken)
	if err := r.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := r.store.Tokens().List(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("kept for ever: %v, %v", list, err)
	}
}

func TestLogoutEndsOneLogin(t *testing.T) {
	r := newRig(t, "a password")
	one, other := r.mustLogin(t, "a password"), r.mustLogin(t, "a password")
	for range 2 { // the second time there is a record
		id, err := r.Verify(t.Context(), one.Token)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Logout(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify(t.Context(), one.Token); !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("the access token goes on: %v", err)
		}
		r.refused(t, "after the logout", one.RefreshToken)
		one = r.mustRefresh(t, r.mustRefresh(t, r.mustLogin(t, "a password").RefreshToken).RefreshToken)
	}
	if _, err := r.Verify(t.Context(), other.Token); err != nil {
		t.Errorf("another login ended: %v", err)
	}
}

func TestDefaultPasswordPolicies(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		from   string
		ok     bool
	}{
		{DefaultLocal, "192.168.1.5", true}, {DefaultLocal, "127.0.0.1", true}, {DefaultLocal, "172.17.0.1", true},
		{DefaultLocal, "203.0.113.9", false}, {DefaultLocal, "203.0.113.200", false}, {DefaultLocal, "2001:db8::1", false}, {DefaultLocal, "100.64.0.1", false},
		{DefaultAnywhere, "203.0.113.9", true}, {DefaultAnywhere, "127.0.0.1", true},
		{DefaultNever, "203.0.113.9", false}, {DefaultNever, "127.0.0.1", false},
	} {
		r := newRig(t, "", func(d *Deps) { d.Policy = c.policy })
		_, err := r.Login(t.Context(), AdminName, DefaultPassword, "", netip.MustParseAddr(c.from))
		if c.ok != (err == nil) || !c.ok && (!errors.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), PasswordVariable)) {
			t.Errorf("policy %d from %s: %v", c.policy, c.from, err)
		}
	}
}

// A host has 2^64 addresses of its own in IPv6.
func TestAnIPv6NetworkCountsAsOneAddress(t *testing.T) {
	r := newRig(t, "a password")
	for i := range freeFailures {
		a := netip.MustParseAddr("2001:db8:0:1::").As16()
		a[15] = byte(i + 1)
		if _, err := r.Login(t.Context(), AdminName, "wrong", "", netip.AddrFrom16(a)); !errors.Is(err, errs.Unauthenticated) {
			t.Fatal(err)
		}
	}
	var wait Throttled
	if _, err := r.Login(t.Context(), AdminName, "a password", "", netip.MustParseAddr("2001:db8:0:1:ffff::1")); !errors.As(err, &wait) {
		t.Errorf("the same network: %v", err)
	}
	if _, err := r.Login(t.Context(), AdminName, "a password", "", netip.MustParseAddr("2001:db8:0:2::1")); err != nil {
		t.Errorf("another network: %v", err)
	}
}

// Guesses that are sent at once gain at most one for each hash that runs.
func TestGuessesAtOnceAreHeldUpToo(t *testing.T) {
	r := newRig(t, "a password")
	var wg sync.WaitGroup
	results := make([]error, 100)
	for i := range results {
		wg.Go(func() { _, results[i] = r.Login(t.Context(), AdminName, "wrong", "", outside) })
	}
	wg.Wait()
	tried := 0
	for _, err := range results {
		if !errors.As(err, new(Throttled)) {
			tried++
		}
	}
	if most := freeFailures + cap(r.slots.free); tried > most {
		t.Errorf("%d guesses were looked at, want at most %d", tried, most)
	}
}

func TestTokensCarryTheirOrganization(t *testing.T) {
	r := newRig(t, "a password")
	id, err := r.Verify(t.Context(), r.mustLogin(t, "a password").Token)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Organizations(t.Context(), id)
	if err != nil || len(list) != 1 || list[0].Name != RootOrganization || list[0].ID != id.Organization || len(list[0].Members) != 1 {
		t.Fatalf("organizations %+v, %v", list, err)
	}
	if _, err := r.Register(t.Context(), id, NewAccount{Name: "ann", Password: "a password"}); err != nil {
		t.Fatal(err)
	}
	lab, err := r.CreateOrganization(t.Context(), id, "lab", []Member{{User: "ann", Roles: []string{RoleOrgAdmin}}})
	if err != nil {
		t.Fatal(err)
	}
	roles := func(organization string) ([]string, string, Session) {
		s, err := r.Login(t.Context(), "ann", "a password", organization, inside)
		if err != nil {
			t.Fatal(err)
		}
		who, err := r.Verify(t.Context(), s.Token)
		if err != nil {
			t.Fatal(err)
		}
		m := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(s.Token, m); err != nil {
			t.Fatal(err)
		}
		if m["organization"] != who.Organization || len(m["roles"].([]any)) != len(who.Roles) {
			t.Errorf("claims %v, identity %+v", m, who)
		}
		return who.Roles, who.Organization, s
	}
	if got, at, _ := roles(""); !slices.Equal(got, []string{RoleApplication}) || at != id.Organization {
		t.Errorf("at home: %v in %s", got, at)
	}
	got, at, s := roles("lab")
	if !slices.Equal(got, []string{RoleOrgAdmin}) || at != lab {
		t.Errorf("in the lab: %v in %s", got, at)
	}
	if _, err := r.Login(t.Context(), AdminName, "a password", "lab", inside); !errors.Is(err, errs.Forbidden) {
		t.Errorf("no member: %v", err)
	}
	if err := r.ChangeOrganization(t.Context(), id, lab, "", []Member{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context(), s.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("no member any more: %v", err)
	}
	r.refused(t, "no member any more", s.RefreshToken)
}

// A store of a version without organizations names a root organization in
// Admin's record; its tokens go on.
func TestTheRootOrganizationTakesTheIDThatAdminNames(t *testing.T) {
	r := newRig(t, "a password")
	list, err := r.store.Organizations().List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	u, err := r.users.Get(t.Context(), AdminName)
	if err != nil || list[0].ID != u.Organization {
		t.Errorf("root is %s, Admin belongs to %s, %v", list[0].ID, u.Organization, err)
	}
	if err := EnsureRoot(t.Context(), r.store); err != nil {
		t.Fatal(err)
	}
	if again, _ := r.store.Organizations().List(t.Context()); len(again) != 1 {
		t.Errorf("root was made twice: %v", again)
	}
	s := r.mustLogin(t, "a password")
	if err := r.store.Organizations().Delete(t.Context(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if id, err := r.Verify(t.Context(), s.Token); err != nil || !id.Admin() {
		t.Errorf("before the organization was made: %+v, %v", id, err)
	}
}

// Admin who was deleted on purpose does not come back with the default
// password.
func TestADeletedAdminStaysAway(t *testing.T) {
	r := newRig(t, "a password")
	id, err := r.Verify(t.Context(), r.mustLogin(t, "a password").Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteUser(t.Context(), id, AdminName); !errors.Is(err, errs.Conflict) {
		t.Fatalf("the last Admin: %v", err)
	}
	if _, err := r.Register(t.Context(), id, NewAccount{Name: "ann", Password: "a password", Roles: []string{RoleAdmin}}); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteUser(t.Context(), id, AdminName); err != nil {
		t.Fatal(err)
	}
	if err := EnsureAdmin(t.Context(), r.users, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.users.Get(t.Context(), AdminName); !errors.Is(err, errs.NotFound) {
		t.Errorf("Admin is back: %v", err)
	}
}

// Two who demote one another at once do not both succeed.
func TestAnAdminIsAlwaysLeft(t *testing.T) {
	r := newRig(t, "a password")
	id, err := r.Verify(t.Context(), r.mustLogin(t, "a password").Token)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"ann", "bob", "eve"}
	for _, n := range names {
		if _, err := r.Register(t.Context(), id, NewAccount{Name: n, Password: "a password", Roles: []string{RoleAdmin}}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	failed := make([]error, 4)
	for i, n := range append(names, AdminName) {
		wg.Go(func() {
			if i%2 == 0 {
				failed[i] = r.DeleteUser(t.Context(), id, n)
				return
			}
			failed[i] = r.UpdateUser(t.Context(), id, n, AccountChange{Roles: []string{}}, inside)
		})
	}
	wg.Wait()
	left, err := r.users.List(t.Context())
	if err != nil || len(admins(left)) != 1 {
		t.Errorf("admins left: %v, %v; errors %v", admins(left), err, failed)
	}
}
