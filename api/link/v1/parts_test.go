package linkv1

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// slots makes assignments of services, each service in turn; every tenth slot
// still has the spec of an earlier revision.
func slots(count, services, bytes int) iter.Seq[*Assignment] {
	text := strings.Repeat("x", bytes)
	return func(yield func(*Assignment) bool) {
		for i := range count {
			spec := &ServiceSpec{ServiceName: fmt.Sprint(i % services), Environment: []string{text}, Revision: 2}
			if i/services%10 == 9 {
				spec.Revision = 1
			}
			if !yield(&Assignment{ServiceId: fmt.Sprint("s", i%services), Number: uint32(i), Grant: uint64(i + 1), Spec: spec}) {
				return
			}
		}
	}
}

// What is cut and put together again is what it was, in order, and no part is
// too large, unless it is one assignment.
func TestPartsAreTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		count, services, bytes, most := r.IntN(200), 1+r.IntN(20), r.IntN(300), 1+r.IntN(5000)
		var got []*Assignment
		ended := false
		for part, more := range Parts(slots(count, services, bytes), most) {
			if ended || len(part) == 0 && count > 0 {
				t.Fatalf("a part of %d after the last one %v", len(part), ended)
			}
			data, err := proto.Marshal(&Claims{Assignments: part, More: more})
			if err != nil {
				t.Fatal(err)
			}
			var c Claims
			if len(data) > most && len(part) > 1 {
				t.Fatalf("%d bytes in %d assignments, want at most %d", len(data), len(part), most)
			}
			if err := proto.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			Whole(c.Assignments)
			got, ended = append(got, c.Assignments...), !c.More
		}
		i := 0
		for want := range slots(count, services, bytes) {
			if i >= len(got) || !proto.Equal(got[i], want) {
				t.Fatalf("assignment %d of %d in %d services, most %d: differs", i, count, services, most)
			}
			i++
		}
		if i != len(got) || !ended {
			t.Fatalf("%d assignments, want %d; ended %v", len(got), i, ended)
		}
	}
}

// A spec goes once per service and part, however many slots have it.
func TestPartsSayASpecOnce(t *testing.T) {
	bytes, parts, specs := 0, 0, 0
	for part := range Parts(slots(9_000, 1000, 500), PartBytes) {
		parts++
		bytes += proto.Size(&Claims{Assignments: part})
		for _, a := range part {
			if a.Spec != nil {
				specs++
			}
		}
	}
	if specs > 2*1000 || parts > 2 || bytes > 2<<20 {
		t.Errorf("%d bytes in %d parts with %d specs", bytes, parts, specs)
	}
}

// A part that nobody wants is not made.
func TestPartsStop(t *testing.T) {
	made := 0
	all := func(yield func(*Assignment) bool) {
		for a := range slots(100, 100, 1000) {
			if made++; !yield(a) {
				return
			}
		}
	}
	for range Parts(all, 3000) {
		break
	}
	if made > 4 {
		t.Errorf("%d were made for the first part", made)
	}
}
