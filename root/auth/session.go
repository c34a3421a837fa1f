package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

const (
	// sessionLife bounds a login, however often it is refreshed.
	sessionLife = 30 * 24 * time.Hour
	// refreshGrace is how long a replaced refresh token still works: an answer
	// may have been lost, two windows may refresh at once.
	refreshGrace = 30 * time.Second
)

// family is what all tokens of one login share.
type family struct {
	id         string
	began      time.Time
	generation uint64 // of the refresh token to be made
}

func (a *Auth) session(u store.User, acc Account, f family) (Session, error) {
	access, err := a.tokens.mint(u, acc, typeAccess, f)
	if err != nil {
		return Session{}, err
	}
	refresh, err := a.tokens.mint(u, acc, typeRefresh, f)
	if err != nil {
		return Session{}, err
	}
	return Session{Token: access, RefreshToken: refresh, MustChangePassword: u.MustChangePassword}, nil
}

// Refresh exchanges a refresh token for a new access and a new refresh token.
// A refresh token works until its successor was used, so that clients which
// never keep the successor can use the first for its whole life. Whoever comes
// with a replaced one ends the login for everyone who holds a part of it: one
// of them is a thief. Errors: Unauthenticated for a bad, expired, replaced or
// revoked one, NotFound when the user is gone.
func (a *Auth) Refresh(ctx context.Context, refreshToken string) (Session, error) {
	c, u, err := a.holder(ctx, a.tokens, refreshToken, typeRefresh)
	if err != nil {
		return Session{}, err
	}
	acc, err := a.within(ctx, u, c.Organization)
	if err != nil {
		return Session{}, err
	}
	if c.Session == "" { // of a version without sessions
		return a.session(u, acc, family{id: newID(), began: a.now()})
	}
	newest, err := a.advance(ctx, c, u)
	if err != nil {
		return Session{}, err
	}
	return a.session(u, acc, family{id: c.Session, began: c.began(), generation: newest + 1})
}

// advance notes the use of a refresh token and returns the generation in use.
func (a *Auth) advance(ctx context.Context, c claims, u store.User) (uint64, error) {
	now, reused := a.now(), false
	note := func(t store.Token) (store.Token, error) {
		reused = false
		old := c.Generation < t.Generation || c.Generation == t.Generation && t.Hash != "" && t.Hash != c.ID
		switch {
		case t.Revoked:
			return t, errEnded
		case old && now.Sub(t.AdvancedAt) > refreshGrace:
			t.Revoked, reused = true, true
		case c.Generation > t.Generation:
			t.Generation, t.Hash, t.AdvancedAt = c.Generation, c.ID, now
		}
		return t, nil
	}
	t, err := a.store.Tokens().Update(ctx, c.Session, note)
	if errors.Is(err, errs.NotFound) {
		if c.Generation == 0 {
			return 0, nil // the first one: nothing to note
		}
		t, _ = note(sessionRecord(c, u))
		err = a.store.Tokens().Put(ctx, t)
	}
	if err != nil {
		return 0, fmt.Errorf("session of %q: %w", u.Name, err)
	}
	if reused {
		a.log.Warn("login ended", "user", u.Name, "session", c.Session, "reason", "a replaced refresh token was used again: it may have been stolen")
		return 0, errEnded
	}
	return t.Generation, nil
}

var errEnded = fmt.Errorf("this login was ended, log in again: %w", errs.Unauthenticated)

func sessionRecord(c claims, u store.User) store.Token {
	return store.Token{
		ID: c.Session, Kind: store.TokenSession, User: u.Name, UserID: u.ID, CreatedAt: c.began(), ExpiresAt: c.began().Add(sessionLife),
	}
}

// Logout ends the login an identity comes from: its access and refresh tokens
// stop working. Error: Forbidden for an API token.
func (a *Auth) Logout(ctx context.Context, who Identity) error {
	if who.Session == "" {
		return fmt.Errorf("this is no login: an API token is revoked with DELETE /api/tokens/<id>: %w", errs.Forbidden)
	}
	_, err := a.store.Tokens().Update(ctx, who.Session, func(t store.Token) (store.Token, error) {
		t.Revoked = true
		return t, nil
	})
	if errors.Is(err, errs.NotFound) {
		err = a.store.Tokens().Put(ctx, store.Token{
			ID: who.Session, Kind: store.TokenSession, User: who.Name, UserID: who.ID, Revoked: true,
			CreatedAt: a.now(), ExpiresAt: a.now().Add(sessionLife),
		})
	}
	if err != nil {
		return fmt.Errorf("end the session of %q: %w", who.Name, err)
	}
	return nil
}

// Verify says who holds a bearer token, an access token or an API token. Roles
// are those of the store, and a change that was made here counts at once; see
// trust for others. The identity is shared: never write to it. Error:
// Unauthenticated.
func (a *Auth) Verify(ctx context.Context, bearer string) (Identity, error) {
	now := a.now()
	if id, ok := a.holders.get(bearer, now); ok {
		return id, nil
	}
	h := holder{era: a.holders.era.Load(), found: now} // before anything is read
	var err error
	if isAPIToken(bearer) {
		h.Identity, h.ends, err = a.verifyAPI(ctx, bearer)
	} else {
		h.Identity, h.ends, err = a.verifyAccess(ctx, a.tokens, bearer)
	}
	if err != nil {
		return Identity{}, err
	}
	a.holders.put(bearer, h)
	return h.Identity, nil
}

// Lasts says who holds a token that Verify has accepted at a time, for what goes
// on since: an access token lives for minutes, a shell for hours. That it has
// expired meanwhile is no reason to end; a logout, another password, or that the
// user is gone is. Error: Unauthenticated.
func (a *Auth) Lasts(ctx context.Context, bearer string, since time.Time) (Identity, error) {
	if isAPIToken(bearer) {
		return a.Verify(ctx, bearer)
	}
	then := a.tokens
	then.now = func() time.Time { return since }
	id, _, err := a.verifyAccess(ctx, then, bearer)
	return id, err
}

// verifyAccess looks an access token up, and says when it ends.
func (a *Auth) verifyAccess(ctx context.Context, by tokens, token string) (Identity, time.Time, error) {
	c, u, err := a.holder(ctx, by, token, typeAccess)
	if errors.Is(err, errs.NotFound) {
		return Identity{}, time.Time{}, fmt.Errorf("the user of this token is gone: %w", errs.Unauthenticated)
	}
	if err != nil {
		return Identity{}, time.Time{}, err
	}
	if err := a.notEnded(ctx, c); err != nil {
		return Identity{}, time.Time{}, err
	}
	acc, err := a.within(ctx, u, c.Organization)
	if err != nil {
		return Identity{}, time.Time{}, err
	}
	return Identity{Account: acc, Session: c.Session}, c.ExpiresAt.Time, nil
}

func (a *Auth) notEnded(ctx context.Context, c claims) error {
	if c.Session == "" {
		return nil
	}
	t, err := a.store.Tokens().Get(ctx, c.Session)
	switch {
	case errors.Is(err, errs.NotFound):
		return nil
	case err != nil:
		return fmt.Errorf("session: %w", err)
	case t.Revoked:
		return errEnded
	}
	return nil
}

func (a *Auth) holder(ctx context.Context, by tokens, token, kind string) (claims, store.User, error) {
	c, err := by.parse(token, kind)
	if err != nil {
		return claims{}, store.User{}, err
	}
	u, err := a.users.Get(ctx, c.Subject)
	if err != nil {
		return claims{}, store.User{}, fmt.Errorf("user %q of the token: %w", c.Subject, err)
	}
	if !a.tokens.current(c, u) {
		return claims{}, store.User{}, fmt.Errorf("the token was made before the last change of password: %w", errs.Unauthenticated)
	}
	return c, u, nil
}
