package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// Scopes bound what an API token does; each includes the ones before. None
// gives more than the owner's roles.
const (
	ScopeRead   = "read"   // look at applications, services and infrastructure
	ScopeDeploy = "deploy" // and create, change, scale and delete applications and services
	ScopeAdmin  = "admin"  // and everything else, accounts and clusters included, but not tokens
)

var allScopes = []string{ScopeRead, ScopeDeploy, ScopeAdmin}

const (
	apiPrefix   = "oak_"
	resetPrefix = "oakreset_"
	idSize      = 8  // bytes
	secretSize  = 32 // bytes: 256 random bits need no slow hash

	maxTokens  = 100 // of one user
	usedWithin = 10 * time.Minute
)

// Allows says whether the identity's scopes include one; a login has no bounds.
func (i Identity) Allows(scope string) bool {
	if i.Token == "" {
		return true
	}
	for _, have := range i.Scopes {
		if slices.Index(allScopes, have) >= slices.Index(allScopes, scope) {
			return true
		}
	}
	return false
}

func isAPIToken(s string) bool { return strings.HasPrefix(s, apiPrefix) }

// newSecret makes an id, the text to hand out (prefix, id and secret) and the
// hash to keep.
func newSecret(prefix string) (id, text, hash string) {
	var raw [idSize + secretSize]byte
	_, _ = rand.Read(raw[:]) // never fails: it ends the program instead
	id = hex.EncodeToString(raw[:idSize])
	secret := hex.EncodeToString(raw[idSize:])
	return id, prefix + id + "_" + secret, hashSecret(secret)
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// parseSecret takes a text apart; there is one spelling of each.
func parseSecret(prefix, text string) (id, secret string, ok bool) {
	rest, found := strings.CutPrefix(text, prefix)
	if !found || len(rest) != 2*idSize+1+2*secretSize || rest[2*idSize] != '_' {
		return "", "", false
	}
	id, secret = rest[:2*idSize], rest[2*idSize+1:]
	for _, r := range id + secret {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return "", "", false
		}
	}
	return id, secret, true
}

// lookup finds the living token of a kind that a text is the secret of. Error:
// Unauthenticated.
func (a *Auth) lookup(ctx context.Context, kind store.TokenKind, prefix, text string) (store.Token, error) {
	bad := fmt.Errorf("the token is unknown, was revoked or has expired: %w", errs.Unauthenticated)
	id, secret, ok := parseSecret(prefix, text)
	if !ok {
		return store.Token{}, bad
	}
	t, err := a.store.Tokens().Get(ctx, id)
	if errors.Is(err, errs.NotFound) {
		return store.Token{}, bad
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("token: %w", err)
	}
	if t.Kind != kind || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hashSecret(secret))) != 1 || expired(t, a.now()) {
		return store.Token{}, bad
	}
	return t, nil
}

func expired(t store.Token, now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

// verifyAPI looks an API token up, and says when it ends.
func (a *Auth) verifyAPI(ctx context.Context, text string) (Identity, time.Time, error) {
	none := time.Time{}
	t, err := a.lookup(ctx, store.TokenAPI, apiPrefix, text)
	if err != nil {
		return Identity{}, none, err
	}
	u, err := a.users.Get(ctx, t.User)
	if errors.Is(err, errs.NotFound) || err == nil && u.ID != t.UserID {
		return Identity{}, none, fmt.Errorf("the user of this token is gone: %w", errs.Unauthenticated)
	}
	if err != nil {
		return Identity{}, none, fmt.Errorf("user %q of the token: %w", t.User, err)
	}
	acc, err := a.within(ctx, u, t.Organization)
	if err != nil {
		return Identity{}, none, err
	}
	a.noteUse(ctx, t)
	return Identity{Account: acc, Token: t.ID, Scopes: t.Scopes}, t.ExpiresAt, nil
}

// noteUse keeps when a token was used, coarsely, so that polling does not
// write. It is a service: a failure is not the caller's.
func (a *Auth) noteUse(ctx context.Context, t store.Token) {
	now := a.now()
	if now.Sub(t.LastUsed) < usedWithin {
		return
	}
	_, err := a.store.Tokens().Update(ctx, t.ID, func(t store.Token) (store.Token, error) {
		t.LastUsed = now.UTC()
		return t, nil
	})
	if err != nil {
		a.log.Debug("use of a token not noted", "token", t.ID, "error", err)
	}
}

// CreateToken makes an API token of the caller and returns it with the secret,
// which is never seen again. expires is zero for never. Errors: Problems,
// Conflict for a name in use, Forbidden when asked with an API token: one that
// leaked must not make more of itself.
func (a *Auth) CreateToken(ctx context.Context, by Identity, name string, scopes []string, expires time.Time) (store.Token, string, error) {
	if by.Token != "" {
		return store.Token{}, "", errNotYours("API tokens are made with a login, not with an API token")
	}
	now := a.now().UTC()
	p := checkName("name", name)
	if len(scopes) == 0 {
		p = append(p, errs.Problem{Path: "scopes", Message: "names at least one of " + strings.Join(allScopes, ", ")})
	}
	for i, s := range scopes {
		if !slices.Contains(allScopes, s) {
			p = append(p, errs.Problem{Path: fmt.Sprintf("scopes[%d]", i), Value: shown(s), Message: "is no scope; there are " + strings.Join(allScopes, ", ")})
		}
	}
	if !expires.IsZero() && !expires.After(now) {
		p = append(p, errs.Problem{Path: "expires_at", Value: expires.Format(time.RFC3339), Message: "lies in the past"})
	}
	if len(p) > 0 {
		return store.Token{}, "", p
	}
	id, text, hash := newSecret(apiPrefix)
	t := store.Token{
		ID: id, Kind: store.TokenAPI, User: by.Name, UserID: by.ID, Name: name, Hash: hash, Scopes: scopes, Organization: by.Organization,
		CreatedAt: now, ExpiresAt: expires.UTC(),
	}
	err := a.change(ctx, func() error {
		mine, err := a.ListTokens(ctx, by)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(mine, func(o store.Token) bool { return o.Name == name }) {
			return fmt.Errorf("you have a token %q already: %w", name, errs.Conflict)
		}
		if len(mine) >= maxTokens {
			return fmt.Errorf("you have %d tokens, revoke one first: %w", len(mine), errs.Conflict)
		}
		return a.store.Tokens().Put(ctx, t)
	})
	if err != nil {
		return store.Token{}, "", err
	}
	a.log.Info("API token created", "user", by.Name, "token", id, "name", name, "scopes", scopes)
	return t, text, nil
}

// ListTokens lists the caller's API tokens that have not expired.
func (a *Auth) ListTokens(ctx context.Context, by Identity) ([]store.Token, error) {
	all, err := a.store.Tokens().List(ctx, by.Name)
	if err != nil {
		return nil, fmt.Errorf("tokens of %q: %w", by.Name, err)
	}
	return slices.DeleteFunc(all, func(t store.Token) bool {
		return t.Kind != store.TokenAPI || t.UserID != by.ID || expired(t, a.now())
	}), nil
}

// RevokeToken ends one of the caller's API tokens (id or name), at once; an
// Admin ends anyone's by id. Errors: NotFound, Forbidden when asked with
// another API token.
func (a *Auth) RevokeToken(ctx context.Context, by Identity, idOrName string) error {
	all, err := a.store.Tokens().List(ctx, "")
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	for _, t := range all {
		mine := t.User == by.Name && t.UserID == by.ID
		if t.Kind != store.TokenAPI || !(mine && (t.Name == idOrName || t.ID == idOrName) || by.Admin() && t.ID == idOrName) {
			continue
		}
		if by.Token != "" && by.Token != t.ID {
			return errNotYours("An API token revokes itself alone")
		}
		if err := a.store.Tokens().Delete(ctx, t.ID); err != nil {
			return err
		}
		a.log.Info("API token revoked", "user", t.User, "token", t.ID, "name", t.Name, "by", by.Name)
		return nil
	}
	return fmt.Errorf("token %q: %w", shown(idOrName), errs.NotFound)
}

// dropTokens removes a user's tokens of some kinds.
func (a *Auth) dropTokens(ctx context.Context, u store.User, kinds ...store.TokenKind) error {
	all, err := a.store.Tokens().List(ctx, u.Name)
	if err != nil {
		return fmt.Errorf("tokens of %q: %w", u.Name, err)
	}
	for _, t := range all {
		if !slices.Contains(kinds, t.Kind) {
			continue
		}
		if err := a.store.Tokens().Delete(ctx, t.ID); err != nil && !errors.Is(err, errs.NotFound) {
			return fmt.Errorf("token %s: %w", t.ID, err)
		}
	}
	return nil
}

// TokenPrefix is what an API token begins with, to recognise it by.
func TokenPrefix(t store.Token) string { return apiPrefix + t.ID }
