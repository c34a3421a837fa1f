package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestWhatIsRememberedOfTokensIsBoundedAndEndsWithThem(t *testing.T) {
	v := &verified{}
	c := claims{RegisteredClaims: jwt.RegisteredClaims{NotBefore: jwt.NewNumericDate(start), ExpiresAt: jwt.NewNumericDate(start.Add(time.Minute))}}
	for i := range 3 * maxVerified {
		v.put(fmt.Sprint(i), c)
	}
	last := fmt.Sprint(3*maxVerified - 1)
	if len(v.say) > maxVerified {
		t.Errorf("%d tokens remembered", len(v.say))
	}
	for when, want := range map[time.Duration]bool{-time.Second: false, 0: true, 59 * time.Second: true, time.Minute: false} {
		if _, ok := v.get(last, start.Add(when)); ok != want {
			t.Errorf("at %s: %v, want %v", when, ok, want)
		}
	}
	v.put("endless", claims{})
	if _, ok := v.get("endless", start); ok {
		t.Error("a token without an end was remembered")
	}
}
