package placement

import (
	"fmt"
	"math"
	"slices"

	"oakestra/pkg/core/model"
)

// Promised is the reason of a cluster that may have room, once it has counted
// what is on its way there.
const Promised = "promised"

// promised is what was reserved on a cluster since it reported its rooms, or
// not counted in them yet. Where in the cluster it went is not known.
type promised struct {
	count int
	sum   model.Resources
	each  map[model.Resources]int
}

func (p *promised) book(demand model.Resources, sign int) {
	if p.each == nil {
		p.each = map[model.Resources]int{}
	}
	p.count += sign
	if p.each[demand] += sign; p.each[demand] <= 0 {
		delete(p.each, demand)
	}
	if sign > 0 {
		p.sum = p.sum.Add(demand)
	} else {
		p.sum = p.sum.Sub(demand)
	}
}

// peak is the most of each resource that a single promise takes.
func (p *promised) peak() (most model.Resources) {
	for d := range p.each {
		most = greatest(most, d)
	}
	return most
}

// judgeRooms judges a cluster by the rooms it has reported: the request must
// fit into one of them, wherever what was promised since has gone. A guess is
// content with what the rooms do not rule out, where they are not all there is.
func judgeRooms(e *entry, r Request, guess bool) fault {
	var fit []Room
	var most model.Resources
	able := false
	for _, room := range e.Rooms {
		if !runsAll(room, r) {
			continue
		}
		able = true
		most = greatest(most, room.Free)
		if fits(room.Free, r.Demand) {
			fit = append(fit, room)
		}
	}
	switch {
	case len(e.Rooms) == 0:
		return fault{name: "workers", form: formFull}
	case !able:
		return fault{name: "workers", form: formUnable}
	case len(fit) == 0 && guess && e.Partial && fits(most, r.Demand):
		return fault{}
	case len(fit) == 0:
		return judgeDemand(nearest(e.Rooms, r), r.Demand)
	case e.Loose || surely(fit, r.Demand, &e.promised):
		return fault{}
	}
	return fault{name: Promised, form: formPromised, have: int64(e.promised.count)}
}

func runsAll(room Room, r Request) bool {
	return (r.Runtime == "" || slices.Contains(room.Runtimes, r.Runtime)) && (!r.Network || room.Network) &&
		(len(r.Architectures) == 0 || slices.ContainsFunc(r.Architectures, func(a string) bool { return slices.Contains(room.Architectures, a) }))
}

// nearest is the room that misses a request by the fewest resources.
func nearest(rooms []Room, r Request) model.Resources {
	best, misses := model.Resources{}, 5
	for _, room := range rooms {
		if !runsAll(room, r) {
			continue
		}
		n := 0
		for i, want := range parts(r.Demand) {
			if want > 0 && want > parts(room.Free)[i] {
				n++
			}
		}
		if n < misses {
			best, misses = room.Free, n
		}
	}
	return best
}

// surely says that the promises cannot have made every worker of the rooms too
// small for a demand, however they were spread. To do that they would have to
// take, of each worker and at least one wanted resource, more than the demand
// leaves there. Three measures of what that takes in all are compared with what
// was promised in all: how many promises, and the sum of the wanted resources,
// each in parts of the demand, and in parts of the promised. Any one that does
// not reach is proof.
func surely(rooms []Room, want model.Resources, p *promised) bool {
	if p.count == 0 {
		return true
	}
	demand, sum, peak := parts(want), parts(p.sum), parts(p.peak())
	number, byDemand, byPromise := 0.0, 0.0, 0.0
	for _, room := range rooms {
		n, d, s := math.Inf(1), math.Inf(1), math.Inf(1)
		for i, free := range parts(room.Free) {
			if demand[i] <= 0 {
				continue
			}
			slack := free - demand[i]
			if peak[i] > 0 {
				n = min(n, float64(slack/peak[i]+1))
			}
			d = min(d, float64(slack+1)/float64(demand[i]))
			if sum[i] > 0 {
				s = min(s, float64(slack+1)/float64(sum[i]))
			}
		}
		workers := float64(room.Count)
		number, byDemand, byPromise = number+workers*n, byDemand+workers*d, byPromise+workers*s
	}
	promisedDemands, kinds := 0.0, 0.0
	for i, want := range demand {
		if want > 0 {
			promisedDemands += float64(sum[i]) / float64(want)
			if sum[i] > 0 {
				kinds++
			}
		}
	}
	const rounding = 1 + 1e-9
	return number > float64(p.count)*rounding || byDemand > promisedDemands*rounding || byPromise > kinds*rounding
}

// kindOf names what a candidate runs.
func kindOf(c Candidate) string {
	return fmt.Sprint(slices.Sorted(slices.Values(c.Runtimes)), slices.Sorted(slices.Values(c.Architectures)), c.Network)
}
