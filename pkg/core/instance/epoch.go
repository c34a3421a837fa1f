package instance

import (
	"fmt"
	"strconv"
	"strings"

	"oakestra/pkg/core/model"
)

// Grant is the root's part of an epoch: written once per assignment of a slot
// to a cluster. The high 32 bits are the incarnation of the root's store, the
// low 32 bits count within it, so a root that lost its store never reissues a
// grant.
type Grant uint64

// MakeGrant joins an incarnation and a count.
func MakeGrant(incarnation, count uint32) Grant {
	return Grant(uint64(incarnation)<<32 | uint64(count))
}

// Incarnation is the high half of the grant.
func (g Grant) Incarnation() uint32 { return uint32(g >> 32) }

// Epoch names one run of a slot. A cluster never raises a grant; the root
// never writes a try.
type Epoch struct {
	Grant Grant
	Try   uint32
}

// Compare orders epochs by grant, then try: -1, 0 or +1.
func (e Epoch) Compare(o Epoch) int {
	switch {
	case e.Grant < o.Grant:
		return -1
	case e.Grant > o.Grant:
		return 1
	case e.Try < o.Try:
		return -1
	case e.Try > o.Try:
		return 1
	}
	return 0
}

// Less is Compare < 0.
func (e Epoch) Less(o Epoch) bool { return e.Compare(o) < 0 }

// IsZero is true for a run of an agent that knows no epochs.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// String is "<incarnation>.<count>/<try>".
func (e Epoch) String() string {
	return fmt.Sprintf("%d.%d/%d", e.Grant.Incarnation(), uint32(e.Grant), e.Try)
}

// ParseEpoch reads the String form.
func ParseEpoch(s string) (Epoch, error) {
	grant, try, ok := strings.Cut(s, "/")
	incarnation, count, ok2 := strings.Cut(grant, ".")
	var part [3]uint32
	for i, text := range []string{incarnation, count, try} {
		n, err := strconv.ParseUint(text, 10, 32)
		ok = ok && err == nil
		part[i] = uint32(n)
	}
	if !ok || !ok2 {
		return Epoch{}, fmt.Errorf("epoch %q: want <incarnation>.<count>/<try>", s)
	}
	return Epoch{MakeGrant(part[0], part[1]), part[2]}, nil
}

// Attempt names one run of one slot.
type Attempt struct {
	Instance model.InstanceID
	Epoch    Epoch
}
