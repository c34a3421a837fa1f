package auth

import (
	"testing"
	"time"

	"oakestra/root/store"
)

func FuzzVerify(f *testing.F) {
	tok := tokens{key: testKey, access: time.Minute, refresh: time.Minute, now: func() time.Time { return start }}
	good, err := tok.mint(store.User{Name: "ann"}, Account{}, typeAccess, family{id: "s", began: start})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := tok.parse(s, typeAccess); err == nil && s != good {
			t.Errorf("accepted %q", s)
		}
	})
}

func FuzzAPIToken(f *testing.F) {
	_, good, hash := newSecret(apiPrefix)
	f.Add(good)
	f.Add("oak_0123456789abcdef_")
	f.Fuzz(func(t *testing.T, s string) {
		id, secret, ok := parseSecret(apiPrefix, s)
		if !ok {
			if s == good {
				t.Error("refused a good one")
			}
			return
		}
		if apiPrefix+id+"_"+secret != s || len(id) != 2*idSize || len(secret) != 2*secretSize {
			t.Errorf("%q was read as %q and %q", s, id, secret)
		}
		if s != good && hashSecret(secret) == hash && s[len(apiPrefix)+2*idSize:] != good[len(apiPrefix)+2*idSize:] {
			t.Errorf("%q passes for another", s)
		}
	})
}
