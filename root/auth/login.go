package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// MinPassword is the least length of a password that a user chooses, in bytes.
const MinPassword = 8

// maxName bounds what the throttle remembers of a name, in bytes.
const maxName = 256

// errWrong is the same for an unknown name and a wrong password.
var errWrong = fmt.Errorf("wrong user name or password: %w", errs.Unauthenticated)

// Session is the answer to a login and to a refresh.
type Session struct {
	Token, RefreshToken string
	MustChangePassword  bool
}

// Login checks a password given from an address; organization is a name, or
// "" for the one the user belongs to. Errors: Unauthenticated for an unknown
// name or a wrong password (the same text for both), Throttled after many
// failures, Forbidden for the default password from where it may not be used
// and for an organization of others, NotFound for one that does not exist.
// Only who knows the password learns of the last three.
func (a *Auth) Login(ctx context.Context, name, password, organization string, from netip.Addr) (Session, error) {
	u, err := a.verifyPassword(ctx, name, password, from)
	if err != nil {
		return Session{}, err
	}
	if u.MustChangePassword && !a.defaultAllowed(from) {
		a.log.Warn("login refused", "user", name, "from", from.String(), "reason", "default password")
		if a.policy == DefaultNever {
			return Session{}, fmt.Errorf("the default password does not work with OAKESTRA_SECURITY=strict: "+
				"start the system manager with %s set: %w", PasswordVariable, errs.Forbidden)
		}
		return Session{}, fmt.Errorf("the default password works from private networks only: "+
			"log in from one and change it, or start the system manager with %s set: %w", PasswordVariable, errs.Forbidden)
	}
	acc, err := a.enter(ctx, u, organization)
	if err != nil {
		return Session{}, err
	}
	return a.session(u, acc, family{id: newID(), began: a.now()})
}

func (a *Auth) defaultAllowed(from netip.Addr) bool {
	switch a.policy {
	case DefaultAnywhere:
		return true
	case DefaultNever:
		return false
	case DefaultLocal:
	}
	return Local(from)
}

// verifyPassword costs one hash whether or not the user exists. The limit is
// looked at again right before the hash and the failure counted right after
// it, both within the slot, so that guesses sent at once gain nothing.
func (a *Auth) verifyPassword(ctx context.Context, name, password string, from netip.Addr) (store.User, error) {
	if len(name) > maxName {
		return store.User{}, errWrong
	}
	if wait := a.throttle.blocked(name, from, a.now()); wait > 0 {
		return store.User{}, Throttled{After: wait}
	}
	u, err := a.users.Get(ctx, name)
	unknown := errors.Is(err, errs.NotFound)
	if err != nil && !unknown {
		return store.User{}, fmt.Errorf("user %q: %w", name, err)
	}
	hash := u.PasswordHash
	if unknown {
		hash = a.decoy
	}
	var result error
	check := func() {
		if wait := a.throttle.blocked(name, from, a.now()); wait > 0 {
			result = Throttled{After: wait}
			return
		}
		ok, err := checkPassword(hash, password)
		switch {
		case err != nil:
			result = fmt.Errorf("user %q: %w", name, err)
		case unknown || !ok:
			a.throttle.failed(name, from, a.now())
			result = errWrong
		default:
			a.throttle.succeeded(name, from)
		}
	}
	if err := a.slots.run(ctx, check); err != nil {
		return store.User{}, err
	}
	if errors.Is(result, errWrong) {
		a.log.Warn("login refused", "user", shown(name), "from", from.String(), "reason", "wrong name or password")
	}
	if result != nil {
		return store.User{}, result
	}
	return u, nil
}

// ChangePassword sets a new password; logins made before stop working, API
// tokens go on. The old one is asked for again. Errors: Unauthenticated for a
// wrong old one, Throttled, Problems for a new one that is too short, too long
// or the same.
func (a *Auth) ChangePassword(ctx context.Context, name, old, fresh string, from netip.Addr) error {
	if _, err := a.verifyPassword(ctx, name, old, from); err != nil {
		return err
	}
	p := checkFresh("newPassword", fresh)
	if len(p) == 0 && fresh == old {
		p = append(p, errs.Problem{Path: "newPassword", Message: "is the old password"})
	}
	if len(p) > 0 {
		return p
	}
	return a.setPassword(ctx, name, fresh)
}

func (a *Auth) setPassword(ctx context.Context, name, fresh string) error {
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
	a.log.Info("password changed", "user", name)
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
