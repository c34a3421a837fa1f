package cluster

import (
	"errors"
	"testing"

	"oakestra/pkg/errs"
)

// TestALocationOfNumbersIsChecked: field, value and what would do.
func TestALocationOfNumbersIsChecked(t *testing.T) {
	c := DefaultConfig()
	c.Name = "kitchen"
	for _, fine := range []string{"", "the kitchen", "48.15,11.58,1000"} {
		if c.Location = fine; c.Validate() != nil {
			t.Errorf("%q: %v", fine, c.Validate())
		}
	}
	c.Location = "91,500,-3"
	var p errs.Problems
	if err := c.Validate(); !errors.As(err, &p) || len(p) != 1 || p[0].Path != "location" || p[0].Value != `"91,500,-3"` ||
		p[0].Message != "latitude: want -90 to 90 degrees; longitude: want -180 to 180 degrees; radius: want 0 or more metres" {
		t.Errorf("%#v", err)
	}
}
