package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// Roles a user can have, as clients know them.
const (
	RoleAdmin          = "Admin"
	RoleOrgAdmin       = "Organization_Admin"
	RoleApplication    = "Application_Provider"
	RoleInfrastructure = "Infrastructure_Provider"
)

// The account of a fresh install.
const (
	AdminName       = "Admin"
	DefaultPassword = "Admin"
	// PasswordVariable is the environment variable that sets the password of
	// Admin at start; main reads it, messages name it.
	PasswordVariable = "OAKESTRA_ADMIN_PASSWORD"
)

// MinPassword is the least length of a password that a user chooses, in bytes.
const MinPassword = 8

// maxName bounds what the throttle remembers of a name, in bytes.
const maxName = 256

// errWrong is the same for an unknown name and a wrong password.
var errWrong = fmt.Errorf("wrong user name or password: %w", errs.Unauthenticated)

// Deps is what New needs. Users and Key have no default.
type Deps struct {
	Users store.Users
	Key   []byte // KeySize bytes, from LoadKey
	// AccessTTL and RefreshTTL are the lifetimes of tokens; 10 min and 7 days.
	AccessTTL, RefreshTTL time.Duration
	Now                   func() time.Time
	Logger                *slog.Logger
}

// Auth checks passwords and tokens. Safe for concurrent use.
type Auth struct {
	users    store.Users
	tokens   tokens
	slots    slots
	throttle *throttle
	now      func() time.Time
	log      *slog.Logger
	decoy    string // hash checked for unknown names, so that they take as long
}

// New returns an Auth; errs.Invalid when the key has the wrong length.
func New(d Deps) (*Auth, error) {
	if len(d.Key) != KeySize {
		return nil, fmt.Errorf("signing key has %d bytes, want %d: %w", len(d.Key), KeySize, errs.Invalid)
	}
	if d.AccessTTL == 0 {
		d.AccessTTL = 10 * time.Minute
	}
	if d.RefreshTTL == 0 {
		d.RefreshTTL = 7 * 24 * time.Hour
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return &Auth{
		users:    d.Users,
		tokens:   tokens{key: d.Key, access: d.AccessTTL, refresh: d.RefreshTTL, now: d.Now},
		slots:    newSlots(runtime.GOMAXPROCS(0)),
		throttle: newThrottle(),
		now:      d.Now,
		log:      d.Logger,
		decoy:    decoyHash(),
	}, nil
}

// Identity is who a request comes from.
type Identity struct {
	ID           model.UserID
	Name         string
	Email        string
	CreatedAt    time.Time
	Roles        []string
	Organization string
	// MustChangePassword: the account still has the default password.
	MustChangePassword bool
}

// Admin says whether the identity may see and change everything.
func (i Identity) Admin() bool { return i.Has(RoleAdmin) }

// Has says whether the identity has a role.
func (i Identity) Has(role string) bool {
	for _, r := range i.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// Session is the answer to a login.
type Session struct {
	Token, RefreshToken string
	MustChangePassword  bool
}

// Login checks a password given from an address. Errors: Unauthenticated for
// an unknown name or a wrong password (the same text for both), Throttled
// after many failures, Forbidden for the default password from a public
// address.
func (a *Auth) Login(ctx context.Context, name, password string, from netip.Addr) (Session, error) {
	if len(name) > maxName {
		return Session{}, errWrong
	}
	if wait := a.throttle.blocked(name, from, a.now()); wait > 0 {
		return Session{}, Throttled{After: wait}
	}
	u, err := a.verifyPassword(ctx, name, password)
	if errors.Is(err, errs.Unauthenticated) {
		a.throttle.failed(name, from, a.now())
		a.log.Warn("login refused", "user", name, "from", from.String(), "reason", "wrong name or password")
	}
	if err != nil {
		return Session{}, err
	}
	a.throttle.succeeded(name, from)
	if u.MustChangePassword && !Local(from) {
		a.log.Warn("login refused", "user", name, "from", from.String(), "reason", "default password from a public address")
		return Session{}, fmt.Errorf("the default password works from private networks only: "+
			"log in from one and change it, or start the system manager with %s set: %w", PasswordVariable, errs.Forbidden)
	}
	return a.session(u)
}

// verifyPassword costs one hash whether or not the user exists.
func (a *Auth) verifyPassword(ctx context.Context, name, password string) (store.User, error) {
	u, err := a.users.Get(ctx, name)
	unknown := errors.Is(err, errs.NotFound)
	if err != nil && !unknown {
		return store.User{}, fmt.Errorf("user %q: %w", name, err)
	}
	hash := u.PasswordHash
	if unknown {
		hash = a.decoy
	}
	var ok bool
	var checkErr error
	if err := a.slots.run(ctx, func() { ok, checkErr = checkPassword(hash, password) }); err != nil {
		return store.User{}, err
	}
	if checkErr != nil {
		return store.User{}, fmt.Errorf("user %q: %w", name, checkErr)
	}
	if unknown || !ok {
		return store.User{}, errWrong
	}
	return u, nil
}

func (a *Auth) session(u store.User) (Session, error) {
	access, err := a.tokens.mint(u, typeAccess)
	if err != nil {
		return Session{}, err
	}
	refresh, err := a.tokens.mint(u, typeRefresh)
	if err != nil {
		return Session{}, err
	}
	return Session{Token: access, RefreshToken: refresh, MustChangePassword: u.MustChangePassword}, nil
}

// Refresh makes a new access token from a refresh token. Errors:
// Unauthenticated for a bad, expired or revoked one, NotFound when the user
// is gone.
func (a *Auth) Refresh(ctx context.Context, refreshToken string) (string, error) {
	u, err := a.holder(ctx, refreshToken, typeRefresh)
	if err != nil {
		return "", err
	}
	return a.tokens.mint(u, typeAccess)
}

// Verify says who holds an access token. The user's roles are read from the
// store, so a change counts at once. Error: Unauthenticated.
func (a *Auth) Verify(ctx context.Context, accessToken string) (Identity, error) {
	u, err := a.holder(ctx, accessToken, typeAccess)
	if errors.Is(err, errs.NotFound) {
		return Identity{}, fmt.Errorf("the user of this token is gone: %w", errs.Unauthenticated)
	}
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		ID: u.ID, Name: u.Name, Email: u.Email, CreatedAt: u.CreatedAt, Roles: u.Roles, Organization: u.Organization,
		MustChangePassword: u.MustChangePassword,
	}, nil
}

// NameOf finds a user by id or name. Error: NotFound.
func (a *Auth) NameOf(ctx context.Context, idOrName string) (string, error) {
	list, err := a.users.List(ctx)
	if err != nil {
		return "", fmt.Errorf("list users: %w", err)
	}
	for _, u := range list {
		if string(u.ID) == idOrName || u.Name == idOrName {
			return u.Name, nil
		}
	}
	return "", fmt.Errorf("user %q: %w", idOrName, errs.NotFound)
}

func (a *Auth) holder(ctx context.Context, token, kind string) (store.User, error) {
	c, err := a.tokens.parse(token, kind)
	if err != nil {
		return store.User{}, err
	}
	u, err := a.users.Get(ctx, c.Subject)
	if err != nil {
		return store.User{}, fmt.Errorf("user %q of the token: %w", c.Subject, err)
	}
	if !a.tokens.current(c, u) {
		return store.User{}, fmt.Errorf("the token was made before the last change of password: %w", errs.Unauthenticated)
	}
	return u, nil
}

// ChangePassword sets a new password; tokens made before stop working. The
// old one is asked for again. Errors: Unauthenticated for a wrong old one,
// Throttled, Problems for a new one that is too short, too long, the default
// or the same.
func (a *Auth) ChangePassword(ctx context.Context, name, old, fresh string, from netip.Addr) error {
	if wait := a.throttle.blocked(name, from, a.now()); wait > 0 {
		return Throttled{After: wait}
	}
	if _, err := a.verifyPassword(ctx, name, old); err != nil {
		if errors.Is(err, errs.Unauthenticated) {
			a.throttle.failed(name, from, a.now())
		}
		return err
	}
	if err := checkNewPassword(old, fresh); err != nil {
		return err
	}
	hash, err := a.hash(ctx, fresh)
	if err != nil {
		return err
	}
	_, err = a.users.Update(ctx, name, func(u store.User) (store.User, error) {
		u.PasswordHash, u.MustChangePassword = hash, false
		return u, nil
	})
	if err != nil {
		return fmt.Errorf("store password of %q: %w", name, err)
	}
	return nil
}

func (a *Auth) hash(ctx context.Context, password string) (string, error) {
	var hash string
	var hashErr error
	if err := a.slots.run(ctx, func() { hash, hashErr = hashPassword(password) }); err != nil {
		return "", err
	}
	return hash, hashErr
}

func checkNewPassword(old, fresh string) error {
	const path = "newPassword" // its value is never repeated
	var p errs.Problems
	switch {
	case len(fresh) < MinPassword:
		p = append(p, errs.Problem{Path: path, Message: fmt.Sprintf("needs at least %d characters", MinPassword)})
	case len(fresh) > maxPassword:
		p = append(p, errs.Problem{Path: path, Message: fmt.Sprintf("may have at most %d bytes", maxPassword)})
	case fresh == old:
		p = append(p, errs.Problem{Path: path, Message: "is the old password"})
	}
	return p.Err()
}

// EnsureAdmin makes the user Admin when there is none, with password or, when
// that is empty, the default one. An Admin who still has the default password
// gets a given one; a password that was changed is left alone.
func EnsureAdmin(ctx context.Context, users store.Users, password string) error {
	u, err := users.Get(ctx, AdminName)
	switch {
	case errors.Is(err, errs.NotFound):
		u, err = newAdmin()
		if err != nil {
			return err
		}
		if password == "" {
			password = DefaultPassword
		}
	case err != nil:
		return fmt.Errorf("look for user %s: %w", AdminName, err)
	case password == "" || !u.MustChangePassword:
		return nil
	}
	u.PasswordHash, err = hashPassword(password)
	if err != nil {
		return fmt.Errorf("password of %s: %w", AdminName, err)
	}
	debug.FreeOSMemory() // a hash at start, and perhaps none for days
	u.MustChangePassword = password == DefaultPassword
	if err := users.Put(ctx, u); err != nil {
		return fmt.Errorf("store user %s: %w", AdminName, err)
	}
	return nil
}

func newAdmin() (store.User, error) {
	var id [24]byte
	if _, err := rand.Read(id[:]); err != nil {
		return store.User{}, fmt.Errorf("make user id: %w", errors.Join(errs.Internal, err))
	}
	return store.User{
		ID:           model.UserID(hex.EncodeToString(id[:12])),
		Name:         AdminName,
		Roles:        []string{RoleAdmin, RoleOrgAdmin, RoleApplication, RoleInfrastructure},
		Organization: hex.EncodeToString(id[12:]),
		CreatedAt:    time.Now().UTC(),
	}, nil
}
