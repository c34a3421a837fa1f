package placement

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

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
// *Refusal.
func (x *Index) Place(r Request) (Choice, error) {
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
	return Choice{}, x.refusal(r)
}

func (x *Index) best(r Request, avoid []string, guess bool) *entry {
	var best *entry
	fewest := x.fewest(r.Service)
	consider := func(e *entry) bool {
		if best != nil && e.share > best.share {
			return false // everything from here on ranks lower
		}
		if slices.Contains(avoid, e.ID) || x.reject(e, r, guess) != nil {
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

func (x *Index) refusal(r Request) *Refusal {
	verdicts := x.Explain(r)
	reasons, _ := Tally(verdicts)
	return &Refusal{Candidates: len(verdicts), Reasons: reasons}
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
	slices.SortFunc(reasons, func(a, b instance.Reason) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return reasons, qualify
}

// complaint makes the reason of one filter with its example.
type complaint func(name, format string, args ...any) *instance.Reason

// reject applies the filters in order and returns the first that fails. A
// guess lets pass what may have room.
func (x *Index) reject(e *entry, r Request, guess bool) *instance.Reason {
	no := func(name, format string, args ...any) *instance.Reason {
		detail := e.Name
		if detail == "" {
			detail = e.ID
		}
		if format != "" {
			detail += ": " + fmt.Sprintf(format, args...)
		}
		return &instance.Reason{Name: name, Count: 1, Detail: detail}
	}
	if why := rejectWho(e, r, no); why != nil {
		return why
	}
	if why := rejectKind(e, r, no); why != nil {
		return why
	}
	for _, p := range r.Ports {
		if use, taken := e.ports[portKey{p.Host, p.Protocol}]; taken && use.service != r.Service {
			return no("port", "%d/%s is used by another service", p.Host, p.Protocol)
		}
	}
	return rejectRoom(e, r, guess, no)
}

// rejectWho judges whether the candidate may be asked at all.
func rejectWho(e *entry, r Request, no complaint) *instance.Reason {
	switch {
	case r.Restricted && !slices.Contains(r.Only, e.ID) && !slices.Contains(r.Only, e.Name):
		return no("constraint", "not one of %s", strings.Join(r.Only, ";"))
	case slices.Contains(r.Exclude, e.ID):
		return no("refused", "")
	case e.Inactive:
		return no("inactive", "")
	case e.Cordoned:
		return no("cordon", "")
	}
	return nil
}

// rejectKind judges what the candidate can run.
func rejectKind(e *entry, r Request, no complaint) *instance.Reason {
	runs := func(a string) bool { return slices.Contains(e.Architectures, a) }
	switch {
	case r.Runtime != "" && !slices.Contains(e.Runtimes, r.Runtime):
		return no("runtime", "no %s", r.Runtime)
	case len(r.Architectures) > 0 && !slices.ContainsFunc(r.Architectures, runs):
		return no("architecture", "no %s", strings.Join(r.Architectures, " or "))
	case r.Network && !e.Network:
		return no("network", "no overlay")
	case slices.Contains(r.Taken, e.ID):
		return no("name", "has another service of that name")
	}
	return nil
}

// rejectRoom judges whether the demand fits what is free, and for clusters
// also whether it fits a single worker: the sum alone would promise what no
// worker has.
func rejectRoom(e *entry, r Request, guess bool, no complaint) *instance.Reason {
	if why := rejectDemand(e.free(), r, no); why != nil || e.Rooms == nil {
		return why
	}
	return rejectRooms(e, r, guess, no)
}

func rejectDemand(free model.Resources, r Request, no complaint) *instance.Reason {
	for _, p := range []struct {
		name, unit string
		parts      float64 // of the unit
		want, have int64
	}{
		{"vcpus", "", 1000, r.Demand.MilliCPU, free.MilliCPU},
		{"memory", " MiB", 1, r.Demand.MemoryMB, free.MemoryMB},
		{"vgpus", "", 1, r.Demand.GPUs, free.GPUs},
		{"storage", " MiB", 1, r.Demand.DiskMB, free.DiskMB},
	} {
		if p.want > 0 && p.want > p.have {
			amount := func(n int64) string { return strconv.FormatFloat(float64(n)/p.parts, 'f', -1, 64) }
			return no(p.name, "%s > %s%s free", amount(p.want), amount(max(p.have, 0)), p.unit)
		}
	}
	return nil
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
