package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"oakestra/root/store"
)

// Workers are processes of their own, so nothing here may depend on a token
// that another process made at random: what is accepted has to bear the
// signature that this key gives it, in its one spelling.
func FuzzVerify(f *testing.F) {
	tok := tokens{key: testKey, access: time.Minute, refresh: time.Minute, now: func() time.Time { return start }}
	good, err := tok.mint(store.User{Name: "ann"}, Account{}, typeAccess, family{id: "s", began: start})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := tok.parse(s, typeAccess)
		if err != nil {
			return
		}
		cut := strings.LastIndexByte(s, '.')
		m := hmac.New(sha256.New, testKey)
		m.Write([]byte(s[:max(cut, 0)]))
		if cut < 0 || s[cut+1:] != base64.RawURLEncoding.EncodeToString(m.Sum(nil)) || c.Subject == "" || c.Type != typeAccess {
			t.Errorf("accepted %q as %+v", s, c)
		}
	})
}

func FuzzAPIToken(f *testing.F) {
	for _, prefix := range []string{apiPrefix, resetPrefix} {
		_, good, hash := newSecret(prefix)
		if _, secret, ok := parseSecret(prefix, good); !ok || hashSecret(secret) != hash {
			f.Fatalf("%q cannot be read again", good)
		}
		f.Add(good)
	}
	f.Add("oak_0123456789abcdef_")
	f.Fuzz(func(t *testing.T, s string) {
		id, secret, ok := parseSecret(apiPrefix, s)
		if !ok {
			return
		}
		if apiPrefix+id+"_"+secret != s || len(id) != 2*idSize || len(secret) != 2*secretSize || strings.Trim(id+secret, "0123456789abcdef") != "" {
			t.Errorf("%q was read as %q and %q", s, id, secret)
		}
	})
}
