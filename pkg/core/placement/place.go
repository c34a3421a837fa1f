package placement

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Excluded is the reason of a candidate that the request excludes.
const Excluded = "refused"

// Refusal says why nobody qualifies: how many candidates failed each filter.
// It is an errs.Exhausted.
type Refusal struct {
	Candidates int
	Reasons    []instance.Reason // by count, greatest first
}

// Error is one line, such as
// "none of 3 qualifies: memory 2 (w3: 512 > 300 MiB free), cordon 1 (w1)".
func (r *Refusal) Error() string {
	if r.Candidates == 0 {
		return "there is nothing to place on"
	}
	return fmt.Sprintf("none of %d qualifies: %s", r.Candidates, Sentence(r.Reasons))
}

// Unwrap makes errors.Is(err, errs.Exhausted) true.
func (r *Refusal) Unwrap() error { return errs.Exhausted }

// Sentence joins reasons for people.
func Sentence(reasons []instance.Reason) string {
	parts := make([]string, len(reasons))
	for i, r := range reasons {
		parts[i] = fmt.Sprintf("%s %d", r.Name, r.Count)
		if r.Detail != "" {
			parts[i] += " (" + r.Detail + ")"
		}
	}
	return strings.Join(parts, ", ")
}

// Place chooses a candidate and reserves nothing. Of clusters it takes one that
// is known to have a worker for it before one that may have. The error is a
// *Refusal, which others may hold, too: it is not to be changed.
func (x *Index) Place(r Request) (Choice, error) {
	if v := x.refusals.find(x.generation, r); v != nil {
		return Choice{}, v
	}
	for _, guess := range []bool{false, true} {
		if guess && !x.rooms {
			break
		}
		if best := x.best(r, r.Avoid, guess); best != nil {
			return Choice{best.ID}, nil
		}
		if len(r.Avoid) > 0 {
			if best := x.best(r, nil, guess); best != nil {
				return Choice{best.ID}, nil
			}
		}
	}
	v := x.refuse(r)
	x.refusals.keep(x.generation, r, v)
	return Choice{}, v
}

func (x *Index) best(r Request, avoid []string, guess bool) *entry {
	var best *entry
	fewest := x.fewest(r.Service)
	consider := func(e *entry) bool {
		if best != nil && e.share > best.share {
			return false // everything from here on ranks lower
		}
		if slices.Contains(avoid, e.ID) || !x.judge(e, r, guess).none() {
			return true
		}
		if best == nil || e.services.of(r.Service) < best.services.of(r.Service) {
			best = e
		}
		// Nobody has fewer instances than the fewest, and ids ascend.
		return best.services.of(r.Service) > fewest
	}
	if r.Restricted {
		for _, e := range x.named(r.Only) {
			if e.inTree {
				consider(e)
			}
		}
		return best
	}
	x.tree.walk(r.Demand, x.features.wanted(r), consider)
	return best
}

// named lists the known candidates with one of the names or ids, in the order
// of the tree.
func (x *Index) named(names []string) []*entry {
	var list []*entry
	seen := map[string]bool{}
	add := func(id string) {
		if e, ok := x.byID[id]; ok && e.known && !seen[id] {
			seen[id] = true
			list = append(list, e)
		}
	}
	for _, n := range names {
		add(n)
		for _, id := range x.byName[n] {
			add(id)
		}
	}
	sort.Slice(list, func(i, j int) bool { return before(list[i], list[j]) })
	return list
}

// Verdict is a candidate with what speaks against it; Reason is nil when it
// qualifies.
type Verdict struct {
	ID     string
	Reason *instance.Reason
}

// Explain judges every candidate, by id.
func (x *Index) Explain(r Request) []Verdict {
	var list []Verdict
	for id, e := range x.byID {
		if e.known {
			list = append(list, Verdict{id, x.reject(e, r, true)})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}

// Judge says what speaks against one candidate, nil when it qualifies.
func (x *Index) Judge(id string, r Request) *instance.Reason {
	e, ok := x.byID[id]
	if !ok || !e.known {
		return &instance.Reason{Name: "inactive", Count: 1, Detail: id}
	}
	return x.reject(e, r, true)
}

// Tally counts verdicts by reason, the most frequent first, each with the
// first example, and says how many qualify.
func Tally(verdicts []Verdict) (reasons []instance.Reason, qualify int) {
	at := map[string]int{}
	for _, v := range verdicts {
		if v.Reason == nil {
			qualify++
			continue
		}
		i, seen := at[v.Reason.Name]
		if !seen {
			i = len(reasons)
			at[v.Reason.Name] = i
			reasons = append(reasons, instance.Reason{Name: v.Reason.Name, Detail: v.Reason.Detail})
		}
		reasons[i].Count++
	}
	byCount(reasons)
	return reasons, qualify
}

func byCount(reasons []instance.Reason) {
	slices.SortFunc(reasons, func(a, b instance.Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
}

// reject says in words what speaks against a candidate, nil when it qualifies.
func (x *Index) reject(e *entry, r Request, guess bool) *instance.Reason {
	f := x.judge(e, r, guess)
	if f.none() {
		return nil
	}
	return &instance.Reason{Name: f.name, Count: 1, Detail: f.detail(e, r)}
}

// judge applies the filters in order and returns the first that fails. A guess
// lets pass what may have room.
func (x *Index) judge(e *entry, r Request, guess bool) fault {
	if f := judgeWho(e, r); !f.none() {
		return f
	}
	if f := judgeKind(e, r); !f.none() {
		return f
	}
	for i, p := range r.Ports {
		if use, taken := e.ports[portKey{p.Host, p.Protocol}]; taken && use.service != r.Service {
			return fault{name: "port", form: formPort, have: int64(i)}
		}
	}
	return judgeRoom(e, r, guess)
}

// judgeWho judges whether the candidate may be asked at all.
func judgeWho(e *entry, r Request) fault {
	switch {
	case r.Restricted && !slices.Contains(r.Only, e.ID) && !slices.Contains(r.Only, e.Name):
		return fault{name: "constraint", form: formConstraint}
	case slices.Contains(r.Exclude, e.ID):
		return fault{name: Excluded}
	case e.Inactive:
		return fault{name: "inactive"}
	case e.Cordoned:
		return fault{name: "cordon"}
	}
	return fault{}
}

// judgeKind judges what the candidate can run.
func judgeKind(e *entry, r Request) fault {
	runs := func(a string) bool { return slices.Contains(e.Architectures, a) }
	switch {
	case r.Runtime != "" && !slices.Contains(e.Runtimes, r.Runtime):
		return fault{name: "runtime", form: formRuntime}
	case len(r.Architectures) > 0 && !slices.ContainsFunc(r.Architectures, runs):
		return fault{name: "architecture", form: formArchitecture}
	case r.Network && !e.Network:
		return fault{name: "network", form: formNetwork}
	case slices.Contains(r.Taken, e.ID):
		return fault{name: "name", form: formName}
	}
	return fault{}
}

// judgeRoom judges whether the demand fits what is free, and for clusters
// also whether it fits a single worker: the sum alone would promise what no
// worker has.
func judgeRoom(e *entry, r Request, guess bool) fault {
	if f := judgeDemand(e.free(), r.Demand); !f.none() || e.Rooms == nil {
		return f
	}
	return judgeRooms(e, r, guess)
}

func judgeDemand(free, want model.Resources) fault {
	switch {
	case want.MilliCPU > 0 && want.MilliCPU > free.MilliCPU:
		return fault{"vcpus", formCores, want.MilliCPU, free.MilliCPU}
	case want.MemoryMB > 0 && want.MemoryMB > free.MemoryMB:
		return fault{"memory", formMiB, want.MemoryMB, free.MemoryMB}
	case want.GPUs > 0 && want.GPUs > free.GPUs:
		return fault{"vgpus", formNumber, want.GPUs, free.GPUs}
	case want.DiskMB > 0 && want.DiskMB > free.DiskMB:
		return fault{"storage", formMiB, want.DiskMB, free.DiskMB}
	}
	return fault{}
}

// OnlyNodes reads what constraints say of nodes: restricted is false when they
// say nothing. Several direct constraints must all hold.
func OnlyNodes(cs []model.Constraint) (only []string, restricted bool) {
	return intersect(cs, func(c model.Constraint) []string {
		if c.Type == "direct" {
			return c.Nodes
		}
		return nil
	})
}

// OnlyClusters reads what constraints say of clusters.
func OnlyClusters(cs []model.Constraint) (only []string, restricted bool) {
	return intersect(cs, func(c model.Constraint) []string {
		switch {
		case c.Type == "direct" && c.Cluster != "":
			return []string{c.Cluster}
		case c.Type == "clusters":
			return c.Allowed
		}
		return nil
	})
}

func intersect(cs []model.Constraint, names func(model.Constraint) []string) (only []string, restricted bool) {
	for _, c := range cs {
		list := names(c)
		if len(list) == 0 {
			continue
		}
		if !restricted {
			only, restricted = slices.Clone(list), true
			continue
		}
		only = slices.DeleteFunc(only, func(n string) bool { return !slices.Contains(list, n) })
	}
	return only, restricted
}
