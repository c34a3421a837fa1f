package linkv1

import (
	"iter"

	"google.golang.org/protobuf/proto"
)

// AbilityParts is named by peers that take orders and claims in several
// messages, with each spec once per message.
const AbilityParts = "parts"

// PartBytes is how large the assignments of one message may be, unless a single
// one is larger. Both sides take 64 MiB; but a message counts as a sign of life
// only once it is there, and this one is, in 15 s, at 0.6 Mbit/s.
const PartBytes = 1 << 20

// framing is at least what an assignment costs besides its own bytes.
const framing = 8

// Parts cuts assignments into messages of up to most bytes and says of each
// whether more follow; no assignments are one empty part. A spec that the last
// one of the same service in the part has, too, is taken out of its assignment.
func Parts(all iter.Seq[*Assignment], most int) iter.Seq2[[]*Assignment, bool] {
	return func(yield func([]*Assignment, bool) bool) {
		var part []*Assignment
		size, specs := 0, map[string]*ServiceSpec{}
		for a := range all {
			spec := a.GetSpec()
			if last := specs[a.GetServiceId()]; last != nil && proto.Equal(last, spec) {
				a.Spec = nil
			}
			n := proto.Size(a) + framing
			if size+n > most && len(part) > 0 {
				if !yield(part, true) {
					return
				}
				part, size, a.Spec = nil, 0, spec
				clear(specs)
				n = proto.Size(a) + framing
			}
			if a.GetSpec() != nil {
				specs[a.GetServiceId()] = spec
			}
			part, size = append(part, a), size+n
		}
		yield(part, false)
	}
}

// Whole gives the assignments of one message the specs that Parts took out;
// they share them.
func Whole(part []*Assignment) {
	specs := map[string]*ServiceSpec{}
	for _, a := range part {
		if a.GetSpec() == nil {
			a.Spec = specs[a.GetServiceId()]
		} else {
			specs[a.GetServiceId()] = a.GetSpec()
		}
	}
}
