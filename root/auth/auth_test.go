package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"oakestra/pkg/errs"
	"oakestra/root/store/boltstore"
)

var (
	start   = time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	inside  = netip.MustParseAddr("192.168.1.5")
	outside = netip.MustParseAddr("203.0.113.9")
	testKey = []byte(strings.Repeat("k", KeySize))
)

func TestMain(m *testing.M) {
	argonMemory = 64
	m.Run()
}

// rig is an Auth with a clock that the test moves.
type rig struct {
	*Auth
	clock time.Time
	log   *bytes.Buffer
}

func newRig(t *testing.T, adminPassword string, change ...func(*Deps)) *rig {
	t.Helper()
	s, _, err := boltstore.Open(filepath.Join(t.TempDir(), "root.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := EnsureAdmin(t.Context(), s.Users(), adminPassword); err != nil {
		t.Fatal(err)
	}
	if err := EnsureRoot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r := &rig{clock: start, log: &bytes.Buffer{}}
	d := Deps{Store: s, Key: testKey, Now: func() time.Time { return r.clock }, Logger: slog.New(slog.NewTextHandler(r.log, nil))}
	for _, f := range change {
		f(&d)
	}
	r.Auth, err = New(d)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) mustLogin(t *testing.T, password string) Session {
	t.Helper()
	s, err := r.Login(t.Context(), AdminName, password, "", inside)
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	return s
}

func TestLogin(t *testing.T) {
	cases := []struct {
		name, user, password string
		from                 netip.Addr
		class                error
	}{
		{"the default password from a private address", "Admin", "Admin", inside, nil},
		{"from this machine", "Admin", "Admin", netip.MustParseAddr("::1"), nil},
		{"from a private address in IPv6 form", "Admin", "Admin", netip.MustParseAddr("::ffff:10.0.0.1"), nil},
		{"the default password from a public address", "Admin", "Admin", outside, errs.Forbidden},
		{"the default password from nowhere known", "Admin", "Admin", netip.Addr{}, errs.Forbidden},
		{"a wrong password", "Admin", "admin", inside, errs.Unauthenticated},
		{"a wrong password from a public address", "Admin", "admin", outside, errs.Unauthenticated},
		{"an unknown user", "Eve", "Admin", inside, errs.Unauthenticated},
		{"no password", "Admin", "", inside, errs.Unauthenticated},
		{"nothing", "", "", inside, errs.Unauthenticated},
		{"a password without end", "Admin", strings.Repeat("A", maxPassword+1), inside, errs.Unauthenticated},
		{"a name without end", strings.Repeat("A", 1<<20), "x", inside, errs.Unauthenticated},
	}
	r := newRig(t, "")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := r.Login(t.Context(), c.user, c.password, "", c.from)
			if !errors.Is(err, c.class) || (c.class == nil) != (err == nil) {
				t.Fatalf("got error %v, want class %v", err, c.class)
			}
			if err == nil && (s.Token == "" || s.RefreshToken == "" || !s.MustChangePassword) {
				t.Errorf("incomplete session %+v", s)
			}
			if errors.Is(err, errs.Forbidden) && !strings.Contains(err.Error(), PasswordVariable) {
				t.Errorf("the refusal does not name %s: %v", PasswordVariable, err)
			}
		})
	}
}

func TestChangePassword(t *testing.T) {
	r := newRig(t, "")
	before := r.mustLogin(t, "Admin")
	for name, c := range map[string]struct {
		old, fresh string
		class      error
	}{
		"wrong old one": {"nope", "long enough", errs.Unauthenticated},
		"too short":     {"Admin", "short", errs.Invalid},
		"the default":   {"Admin", "Admin", errs.Invalid},
		"too long":      {"Admin", strings.Repeat("x", maxPassword+1), errs.Invalid},
	} {
		if err := r.ChangePassword(t.Context(), AdminName, c.old, c.fresh, inside); !errors.Is(err, c.class) {
			t.Errorf("%s: got %v, want class %v", name, err, c.class)
		}
	}
	if _, err := r.Verify(t.Context(), before.Token); err != nil {
		t.Fatalf("a refused change ended the session: %v", err)
	}
	if err := r.ChangePassword(t.Context(), AdminName, "Admin", "long enough", inside); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context(), before.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a token from before the change: got %v, want Unauthenticated", err)
	}
	if _, err := r.Refresh(t.Context(), before.RefreshToken); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a refresh token from before the change: got %v, want Unauthenticated", err)
	}
	s, err := r.Login(t.Context(), AdminName, "long enough", "", outside)
	if err != nil || s.MustChangePassword {
		t.Errorf("login from outside with the new password: %+v, %v", s, err)
	}
}

func TestTokens(t *testing.T) {
	r := newRig(t, "a password")
	s := r.mustLogin(t, "a password")
	id, err := r.Verify(t.Context(), s.Token)
	if err != nil || id.Name != AdminName || !id.Admin() || id.MustChangePassword || id.Organization == "" {
		t.Fatalf("got %+v, %v", id, err)
	}
	refreshed, err := r.Refresh(t.Context(), s.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context(), refreshed.Token); err != nil {
		t.Errorf("refreshed token: %v", err)
	}
	if _, err := r.Verify(t.Context(), s.RefreshToken); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a refresh token opened the API: %v", err)
	}
	if _, err := r.Refresh(t.Context(), s.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an access token was refreshed: %v", err)
	}
	r.clock = start.Add(10*time.Minute + time.Second)
	if _, err := r.Verify(t.Context(), s.Token); !errors.Is(err, errs.Unauthenticated) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired token: %v", err)
	}
	if _, err := r.Refresh(t.Context(), s.RefreshToken); err != nil {
		t.Errorf("refresh after the access token expired: %v", err)
	}
	r.clock = start.Add(8 * 24 * time.Hour)
	if _, err := r.Refresh(t.Context(), s.RefreshToken); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("an expired refresh token: %v", err)
	}
	r.clock = start
	if err := r.users.Delete(t.Context(), AdminName); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(t.Context(), s.Token); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a token of a user who is gone: %v", err)
	}
	if _, err := r.Refresh(t.Context(), s.RefreshToken); !errors.Is(err, errs.NotFound) {
		t.Errorf("a refresh token of a user who is gone: %v", err)
	}
}

// Clients read these claims without checking anything else.
func TestClaimsClientsRead(t *testing.T) {
	r := newRig(t, "a password")
	s := r.mustLogin(t, "a password")
	for _, token := range []string{s.Token, s.RefreshToken} {
		m := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, m); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"sub", "exp", "iat", "nbf", "jti", "type", "fresh", "user", "roles", "organization", "iss"} {
			if _, ok := m[name]; !ok {
				t.Errorf("claim %q is missing in %v", name, m)
			}
		}
		if roles, ok := m["roles"].([]any); !ok || len(roles) != 4 {
			t.Errorf("roles are %v, want four strings", m["roles"])
		}
		if m["sub"] != "Admin" || m["user"] != "Admin" {
			t.Errorf("sub and user are %v and %v", m["sub"], m["user"])
		}
	}
}

func TestForgedTokens(t *testing.T) {
	r := newRig(t, "a password")
	good := r.mustLogin(t, "a password").Token
	u, err := r.users.Get(t.Context(), AdminName)
	if err != nil {
		t.Fatal(err)
	}
	valid := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": issuer, "sub": AdminName, "type": typeAccess, "organization": u.Organization, "pwd": r.tokens.fingerprint(u),
			"exp": start.Add(time.Minute).Unix(), "iat": start.Unix(), "nbf": start.Unix()}
	}
	sign := func(method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		c := valid()
		change(c)
		s, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	nothing := func(jwt.MapClaims) {}
	if _, err := r.Verify(t.Context(), sign(jwt.SigningMethodHS256, testKey, nothing)); err != nil {
		t.Fatalf("the forger's own valid token fails, so this test shows nothing: %v", err)
	}
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	tampered := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), `"Admin"`, `"Root"`, 1)))
	for name, token := range map[string]string{
		"empty":          "",
		"no token":       "abc",
		"three parts":    "a.b.c",
		"changed claims": parts[0] + "." + tampered + "." + parts[2],
		"cut signature":  parts[0] + "." + parts[1] + ".",
		"alg none":       sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nothing),
		"alg HS512":      sign(jwt.SigningMethodHS512, testKey, nothing),
		"another key":    sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", KeySize)), nothing),
		"no exp":         sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { delete(c, "exp") }),
		"another issuer": sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { c["iss"] = "x" }),
		"no issuer":      sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { delete(c, "iss") }),
		"no type":        sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { delete(c, "type") }),
		"no subject":     sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { delete(c, "sub") }),
		"not yet":        sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { c["nbf"] = start.Add(time.Hour).Unix() }),
		"from the future": sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) {
			c["iat"] = start.Add(time.Hour).Unix()
		}),
		"another password": sign(jwt.SigningMethodHS256, testKey, func(c jwt.MapClaims) { c["pwd"] = "00" }),
	} {
		if _, err := r.Verify(t.Context(), token); !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
	}
}

func TestThrottle(t *testing.T) {
	r := newRig(t, "a password")
	fail := func(name string, from netip.Addr) error {
		_, err := r.Login(t.Context(), name, "wrong", "", from)
		return err
	}
	for range freeFailures {
		if err := fail(AdminName, outside); !errors.Is(err, errs.Unauthenticated) {
			t.Fatalf("got %v, want Unauthenticated", err)
		}
	}
	var wait Throttled
	if _, err := r.Login(t.Context(), AdminName, "a password", "", outside); !errors.As(err, &wait) || wait.Seconds() != 1 {
		t.Fatalf("even the right password has to wait 1 s, got %v", err)
	}
	if _, err := r.Login(t.Context(), AdminName, "a password", "", inside); err != nil {
		t.Fatalf("failures elsewhere lock out others: %v", err)
	}
	r.clock = r.clock.Add(time.Second)
	if err := fail(AdminName, outside); !errors.Is(err, errs.Unauthenticated) {
		t.Fatalf("after the wait: %v", err)
	}
	if err := fail(AdminName, outside); !errors.As(err, &wait) || wait.Seconds() != 2 {
		t.Fatalf("the wait doubles, got %v", err)
	}
	r.clock = r.clock.Add(2 * time.Second)
	if _, err := r.Login(t.Context(), AdminName, "a password", "", outside); err != nil {
		t.Fatalf("the right password after the wait: %v", err)
	}
	if err := fail(AdminName, outside); !errors.Is(err, errs.Unauthenticated) {
		t.Fatalf("a success forgives: %v", err)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle(loginLimits)
	for n := range 3 * maxTracked {
		th.failed(fmt.Sprint(n), inside, start.Add(time.Duration(n)*time.Millisecond))
	}
	if len(th.entries) > maxTracked {
		t.Errorf("%d entries are kept, want at most %d", len(th.entries), maxTracked)
	}
	if th.blocked("x", inside, start.Add(time.Minute)) == 0 {
		t.Error("an address that tries many names is not held up")
	}
}

func TestEnsureAdmin(t *testing.T) {
	r := newRig(t, "")
	if err := EnsureAdmin(t.Context(), r.users, "from the environment"); err != nil {
		t.Fatal(err)
	}
	if s := r.mustLogin(t, "from the environment"); s.MustChangePassword {
		t.Error("a given password still has to be changed")
	}
	if err := EnsureAdmin(t.Context(), r.users, "another"); err != nil {
		t.Fatal(err)
	}
	r.mustLogin(t, "from the environment") // a changed password is left alone
	before, err := r.users.Get(t.Context(), AdminName)
	if err != nil {
		t.Fatal(err)
	}
	if len(before.ID) != 24 || len(before.Organization) != 24 {
		t.Errorf("ids %q and %q have not 24 digits", before.ID, before.Organization)
	}
}

func TestPasswordRecord(t *testing.T) {
	argonMemory = 19456
	defer func() { argonMemory = 64 }()
	h, err := hashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("record %q", h)
	}
	if again, _ := hashPassword("secret"); again == h {
		t.Error("two records of one password are equal: no salt")
	}
	for name, record := range map[string]string{
		"empty": "", "text": "secret", "bcrypt": "$2a$10$x", "parts": h + "$x", "memory": strings.Replace(h, "m=19456", "m=99999999", 1),
		"time": strings.Replace(h, "t=2", "t=0", 1), "lanes": strings.Replace(h, "p=1", "p=0", 1), "version": strings.Replace(h, "v=19", "v=1", 1),
		"salt": strings.Replace(h, "p=1$", "p=1$!", 1), "no hash": h[:strings.LastIndex(h, "$")+1],
	} {
		if _, err := checkPassword(record, "secret"); !errors.Is(err, errs.Internal) {
			t.Errorf("%s: got %v, want Internal", name, err)
		}
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "token.key")
	key, err := LoadKey(path)
	if err != nil || len(key) != KeySize {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := LoadKey(path)
	if err != nil || string(again) != string(key) {
		t.Errorf("the key changed: %v", err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); !errors.Is(err, errs.Invalid) {
		t.Errorf("a key that others may read: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); !errors.Is(err, errs.Invalid) {
		t.Errorf("a short key: %v", err)
	}
	if _, err := New(Deps{Key: key[:5]}); !errors.Is(err, errs.Invalid) {
		t.Errorf("New with a short key: %v", err)
	}
}

func TestSlots(t *testing.T) {
	s := newSlots(1)
	ctx, cancel := context.WithCancel(t.Context())
	inner := errs.Internal
	if err := s.run(ctx, func() {
		cancel()
		inner = s.run(ctx, func() { t.Error("a second hash ran beside the first") })
	}); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(inner, errs.Unavailable) {
		t.Errorf("got %v, want Unavailable", inner)
	}
}
