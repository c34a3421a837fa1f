package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// The account of a fresh install.
const (
	AdminName       = "Admin"
	DefaultPassword = "Admin"
	// PasswordVariable is the environment variable that sets the password of
	// Admin at start; main reads it, messages name it.
	PasswordVariable = "OAKESTRA_ADMIN_PASSWORD"
)

// Policy says where from the default password may be used.
type Policy int

// The policies.
const (
	DefaultLocal    Policy = iota // from this machine and private networks
	DefaultAnywhere               // OAKESTRA_SECURITY=open
	DefaultNever                  // OAKESTRA_SECURITY=strict
)

// Accounts is the part of a store that this package keeps things in. It looks
// at applications only to see whether a user still owns some.
type Accounts interface {
	Users() store.Users
	Organizations() store.Organizations
	Tokens() store.Tokens
	Applications() store.Applications
}

// Mailer sends a text to one address.
type Mailer interface {
	Send(ctx context.Context, to, subject, text string) error
}

// Deps is what New needs. Store and Key have no default.
type Deps struct {
	Store Accounts
	Key   []byte // KeySize bytes, from LoadKey
	// Policy of the default password.
	Policy Policy
	// Mailer carries reset tokens; nil means they go to the log.
	Mailer Mailer
	// Pages are the origins of dashboards that a mail may name.
	Pages []string
	// AccessTTL and RefreshTTL are the lifetimes of tokens; 10 min and 7 days.
	AccessTTL, RefreshTTL time.Duration
	Now                   func() time.Time
	Logger                *slog.Logger
}

// Auth checks passwords and tokens and keeps the accounts. Safe for concurrent
// use.
type Auth struct {
	store    Accounts // notes its writes in holders
	users    store.Users
	holders  *holders
	tokens   tokens
	slots    slots
	throttle *throttle // of passwords
	asked    *throttle // of reset requests
	guessed  *throttle // of reset tokens
	resets   chan resetRequest
	alone    chan struct{} // held by a change of accounts
	policy   Policy
	mailer   Mailer
	pages    []string
	now      func() time.Time
	log      *slog.Logger
	decoy    string // hash checked for unknown names, so that they take as long
}

// New returns an Auth; errs.Invalid when the key has the wrong length. It
// starts nothing: Run serves reset requests.
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
		d.Now = systemClock()
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	h := &holders{}
	accounts := noted{d.Store, h}
	return &Auth{
		store:    accounts,
		users:    accounts.Users(),
		holders:  h,
		tokens:   tokens{key: d.Key, access: d.AccessTTL, refresh: d.RefreshTTL, now: d.Now},
		slots:    newSlots(runtime.GOMAXPROCS(0)),
		throttle: newThrottle(loginLimits),
		asked:    newThrottle(askLimits),
		guessed:  newThrottle(loginLimits),
		resets:   make(chan resetRequest, maxResets),
		alone:    make(chan struct{}, 1),
		policy:   d.Policy,
		mailer:   d.Mailer,
		pages:    d.Pages,
		now:      d.Now,
		log:      d.Logger,
		decoy:    decoyHash(),
	}, nil
}

// Account is a user without anything secret. Roles are those of Organization.
type Account struct {
	ID           model.UserID
	Name         string
	Email        string
	CreatedAt    time.Time
	Roles        []string
	Organization string // id
	// MustChangePassword: the account still has the default password.
	MustChangePassword bool
}

// Identity is who a request comes from.
type Identity struct {
	Account
	// Session is the login the access token belongs to; "" for an API token.
	Session string
	// Token is the id of the API token; "" for a login.
	Token string
	// Scopes bound an API token; a login has none and is not bound.
	Scopes []string
}

// Admin says whether the identity may see and change everything.
func (i Identity) Admin() bool { return i.Has(RoleAdmin) }

// Has says whether the identity has a role.
func (i Identity) Has(role string) bool { return slices.Contains(i.Roles, role) }

// change runs f while no other change of accounts runs, so that rules about
// all accounts (one name once, never without an Admin) hold.
func (a *Auth) change(ctx context.Context, f func() error) error {
	select {
	case a.alone <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of accounts: %w", errs.Unavailable)
	}
	defer func() { <-a.alone }()
	return f()
}

// newID makes an id of 24 hex digits, as clients expect.
func newID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the program instead
	return hex.EncodeToString(id[:])
}
