package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

const (
	resetLife   = time.Hour
	resetPause  = time.Minute // between two mails to one user
	mailTimeout = 30 * time.Second
	maxResets   = 32 // that wait
	sweepEvery  = time.Hour
)

// BadResetToken refuses a reset token: unknown, used, replaced or expired.
var BadResetToken = fmt.Errorf("token: the reset token is unknown, was used or has expired; ask for another one: %w", errs.Invalid)

type resetRequest struct {
	name, page string
	from       netip.Addr
}

// RequestReset asks for a token to set a new password with. It answers the
// same, after the same time, whether or not the user exists: Run looks. page
// is where the user wants to enter the token. Errors: Problems, Throttled,
// Unavailable when too many wait.
func (a *Auth) RequestReset(_ context.Context, name, page string, from netip.Addr) error {
	if name == "" || len(name) > maxName {
		return errs.Problems{{Path: "username", Value: shown(name), Message: fmt.Sprintf("must have 1 to %d bytes", maxName)}}
	}
	if wait := a.asked.blocked(name, from, a.now()); wait > 0 {
		return Throttled{After: wait, What: "password resets"}
	}
	a.asked.failed(name, from, a.now())
	select {
	case a.resets <- resetRequest{name, page, from}:
		return nil
	default:
		return fmt.Errorf("too many password resets are waiting: %w", errs.Unavailable)
	}
}

// Run serves reset requests and removes expired tokens until ctx ends.
func (a *Auth) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case r := <-a.resets:
			err = a.reset(ctx, r)
		case <-sweep.C:
			err = a.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error("accounts", "error", err)
		}
	}
}

func (a *Auth) sweep(ctx context.Context) error {
	all, err := a.store.Tokens().List(ctx, "")
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	for _, t := range all {
		if !expired(t, a.now()) {
			continue
		}
		if err := a.store.Tokens().Delete(ctx, t.ID); err != nil && !errors.Is(err, errs.NotFound) {
			return fmt.Errorf("token %s: %w", t.ID, err)
		}
	}
	return nil
}

// reset makes a token and hands it to the user's mailbox or the operator.
func (a *Auth) reset(ctx context.Context, r resetRequest) error {
	u, err := a.users.Get(ctx, r.name)
	if errors.Is(err, errs.NotFound) {
		a.log.Info("password reset asked for an unknown user", "user", shown(r.name), "from", r.from.String())
		return nil
	}
	if err != nil {
		return fmt.Errorf("user %q: %w", r.name, err)
	}
	now := a.now().UTC()
	mine, err := a.store.Tokens().List(ctx, u.Name)
	if err != nil {
		return fmt.Errorf("tokens of %q: %w", u.Name, err)
	}
	if slices.ContainsFunc(mine, func(t store.Token) bool { return t.Kind == store.TokenReset && now.Sub(t.CreatedAt) < resetPause }) {
		return nil // one is on its way
	}
	if err := a.dropTokens(ctx, u, store.TokenReset); err != nil {
		return err
	}
	id, text, hash := newSecret(resetPrefix)
	t := store.Token{ID: id, Kind: store.TokenReset, User: u.Name, UserID: u.ID, Hash: hash, CreatedAt: now, ExpiresAt: now.Add(resetLife)}
	if err := a.store.Tokens().Put(ctx, t); err != nil {
		return fmt.Errorf("store reset token: %w", err)
	}
	if a.mailer == nil || u.Email == "" {
		// The operator is the only one left to carry it.
		a.log.Warn("password reset asked: give the user this token, to be sent within 1 h as PUT /api/user/ with token and password",
			"user", u.Name, "from", r.from.String(), "token", text)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	if err := a.mailer.Send(ctx, u.Email, "Oakestra: set a new password", a.resetText(u, text, r.page)); err != nil {
		return fmt.Errorf("mail a reset token to %q: %w", u.Name, err)
	}
	a.log.Info("password reset mailed", "user", u.Name, "from", r.from.String())
	return nil
}

// resetText names a page only when the operator knows it: whoever asks could
// name a page of their own and wait for the token there.
func (a *Auth) resetText(u store.User, token, page string) string {
	where := "Enter this token where you asked for it"
	if origin, ok := a.known(page); ok {
		where = "Enter this token at " + origin
	}
	return fmt.Sprintf("Someone, probably you, asked for a new password of the Oakestra user %s.\n\n"+
		"%s, within one hour:\n\n  %s\n\n"+
		"If it was not you, do nothing: your password has not changed.\n", u.Name, where, token)
}

func (a *Auth) known(page string) (string, bool) {
	for _, origin := range a.pages {
		u, err := url.Parse(origin)
		if err == nil && u.Host != "" && (page == u.Host || strings.TrimRight(page, "/") == origin) {
			return origin, true
		}
	}
	return "", false
}

// FinishReset sets a new password with a reset token, which works once. Logins
// and API tokens made before end: whoever resets may have lost the account to
// someone. Errors: BadResetToken, Problems, Throttled.
func (a *Auth) FinishReset(ctx context.Context, token, fresh string, from netip.Addr) error {
	if wait := a.guessed.blocked("reset", from, a.now()); wait > 0 {
		return Throttled{After: wait, What: "wrong reset tokens"}
	}
	t, err := a.lookup(ctx, store.TokenReset, resetPrefix, token)
	if errors.Is(err, errs.Unauthenticated) {
		a.guessed.failed("reset", from, a.now())
		return BadResetToken
	}
	if err != nil {
		return err
	}
	u, err := a.users.Get(ctx, t.User)
	if errors.Is(err, errs.NotFound) || err == nil && u.ID != t.UserID {
		return BadResetToken
	}
	if err != nil {
		return fmt.Errorf("user %q: %w", t.User, err)
	}
	if p := checkFresh("password", fresh); len(p) > 0 {
		return p // the token can be used again: nothing happened
	}
	if err := a.store.Tokens().Delete(ctx, t.ID); err != nil {
		if errors.Is(err, errs.NotFound) {
			return BadResetToken // another request was faster
		}
		return fmt.Errorf("reset token: %w", err)
	}
	if err := a.dropTokens(ctx, u, store.TokenAPI, store.TokenReset); err != nil {
		return err
	}
	return a.setPassword(ctx, u.Name, fresh)
}
