package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"oakestra/pkg/errs"
)

// Cost of one hash: OWASP's second argon2id profile, chosen for machines with
// little memory (19 MiB, two passes, one lane).
const (
	argonTime    = 2
	argonThreads = 1
	saltSize     = 16
	hashSize     = 32
)

// argonMemory is in KiB; tests of this package lower it, for the race detector
// makes a hash take a second.
var argonMemory uint32 = 19 * 1024

// Bounds on what a stored hash may ask for, so that a damaged record cannot
// ask for all memory.
const (
	maxArgonTime   = 16
	maxArgonMemory = 256 * 1024 // KiB
)

// maxPassword bounds the work a caller can cause, in bytes.
const maxPassword = 1024

// restAfter is how long after the last hash its memory goes back to the
// system.
const restAfter = 2 * time.Second

// slots bounds the hashes that run at once, hence memory: a burst of logins
// waits instead of taking 19 MiB each. Left to itself the runtime keeps what a
// hash used for minutes, most of an idle root's size.
type slots struct {
	free chan struct{}
	rest *time.Timer
}

func newSlots(n int) slots {
	rest := time.AfterFunc(time.Hour, debug.FreeOSMemory)
	rest.Stop() // until the first hash
	return slots{free: make(chan struct{}, n), rest: rest}
}

func (s slots) run(ctx context.Context, f func()) error {
	select {
	case s.free <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for a free login slot: %w", errors.Join(errs.Unavailable, ctx.Err()))
	}
	defer func() {
		<-s.free
		s.rest.Reset(restAfter)
	}()
	f()
	return nil
}

// hashPassword returns the PHC form: $argon2id$v=19$m=..,t=..,p=..$salt$hash.
func hashPassword(password string) (string, error) {
	if len(password) > maxPassword {
		return "", fmt.Errorf("password has more than %d bytes: %w", maxPassword, errs.Invalid)
	}
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make salt: %w", errors.Join(errs.Internal, err))
	}
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, hashSize)
	return encode(salt, sum), nil
}

// decoyHash is a record that no password fits and that costs as much to check
// as any other.
func decoyHash() string { return encode(make([]byte, saltSize), make([]byte, hashSize)) }

func encode(salt, sum []byte) string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argonMemory, argonTime, argonThreads, enc.EncodeToString(salt), enc.EncodeToString(sum))
}

// checkPassword compares in constant time. A record that cannot be read is an
// error, not a wrong password.
func checkPassword(encoded, password string) (bool, error) {
	if len(password) > maxPassword {
		return false, nil
	}
	p := strings.Split(encoded, "$")
	if len(p) != 6 || p[0] != "" || p[1] != "argon2id" {
		return false, fmt.Errorf("stored password is no argon2id record: %w", errs.Internal)
	}
	var version int
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(p[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, fmt.Errorf("stored password has version %q: %w", p[2], errs.Internal)
	}
	if _, err := fmt.Sscanf(p[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil ||
		passes < 1 || passes > maxArgonTime || memory > maxArgonMemory || threads < 1 {
		return false, fmt.Errorf("stored password has parameters %q: %w", p[3], errs.Internal)
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(p[4])
	want, err2 := base64.RawStdEncoding.DecodeString(p[5])
	if err1 != nil || err2 != nil || len(want) == 0 {
		return false, fmt.Errorf("stored password is damaged: %w", errs.Internal)
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
