package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"oakestra/pkg/errs"
	"oakestra/root/store"
)

const issuer = "oakestra"

// The values of the claim "type".
const (
	typeAccess  = "access"
	typeRefresh = "refresh"
)

// claims are the ones existing clients read (sub, roles, organization, user,
// exp) plus ours: iss, pwd and what ties tokens to a login.
type claims struct {
	jwt.RegisteredClaims
	Type         string   `json:"type"`
	Fresh        bool     `json:"fresh"`
	User         string   `json:"user"`
	Roles        []string `json:"roles"`
	Organization string   `json:"organization"`
	// Password is a keyed fingerprint of the password record, so that a
	// change of password ends every older token.
	Password string `json:"pwd"`
	// Session is the login all its tokens share, Began (seconds since 1970)
	// when it was, Generation how often its refresh token was exchanged.
	Session    string `json:"sid,omitempty"`
	Began      int64  `json:"auth_time,omitempty"`
	Generation uint64 `json:"gen,omitempty"`
}

func (c claims) began() time.Time { return time.Unix(c.Began, 0).UTC() }

// tokens mints and reads JWTs.
type tokens struct {
	key             []byte
	access, refresh time.Duration
	now             func() time.Time
}

func (t tokens) mint(u store.User, acc Account, kind string, f family) (string, error) {
	now := t.now()
	ends := now.Add(t.access)
	if kind == typeRefresh {
		ends = now.Add(t.refresh)
		if last := f.began.Add(sessionLife); ends.After(last) {
			ends = last
		}
	}
	roles := acc.Roles
	if roles == nil {
		roles = []string{}
	}
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer,
			Subject:   u.Name,
			ID:        rand.Text(),
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(ends),
		},
		Type:         kind,
		User:         u.Name,
		Roles:        roles,
		Organization: acc.Organization,
		Password:     t.fingerprint(u),
		Session:      f.id,
		Began:        f.began.Unix(),
		Generation:   f.generation,
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(t.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", errors.Join(errs.Internal, err))
	}
	return s, nil
}

// parse checks signature, algorithm, issuer, times and kind. Every failure is
// Unauthenticated.
func (t tokens) parse(token, kind string) (claims, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c,
		func(*jwt.Token) (any, error) { return t.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(issuer),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(t.now),
	)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return claims{}, fmt.Errorf("token has expired: %w", errs.Unauthenticated)
	case err != nil:
		return claims{}, fmt.Errorf("token is not valid: %w", errs.Unauthenticated)
	case c.Type != kind:
		return claims{}, fmt.Errorf("token is of type %q, want %q: %w", c.Type, kind, errs.Unauthenticated)
	case c.Subject == "":
		return claims{}, fmt.Errorf("token names no user: %w", errs.Unauthenticated)
	}
	return c, nil
}

// current says whether the token belongs to the user's present password.
func (t tokens) current(c claims, u store.User) bool {
	return hmac.Equal([]byte(c.Password), []byte(t.fingerprint(u)))
}

func (t tokens) fingerprint(u store.User) string {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(u.ID))
	m.Write([]byte{0})
	m.Write([]byte(u.PasswordHash))
	return hex.EncodeToString(m.Sum(nil)[:8])
}
