package rest

import (
	"errors"
	"fmt"
	"testing"

	"oakestra/pkg/errs"
)

// TestTheClassIsNotSaidTwice: the status of an answer is the class already.
func TestTheClassIsNotSaidTwice(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{inClass(errs.NotFound, "service %q", "web"), `service "web": not found`}, // without it nothing would be said
		{fmt.Errorf("delete: %w", inClass(errs.Conflict, "it is connected")), "delete: it is connected"},
		{errs.Unavailable, "unavailable"},
		{errors.New("the page says: not found"), "the page says: not found"},
	} {
		if got := plain(c.err); got != c.want {
			t.Errorf("%v\n got %s\nwant %s", c.err, got, c.want)
		}
	}
}
