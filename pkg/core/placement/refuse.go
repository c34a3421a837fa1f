package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"oakestra/pkg/core/instance"
)

// fault is what speaks against a candidate, in parts that cost nothing to make:
// of ten thousand only one of each name is ever put into words.
type fault struct {
	name       string // of the filter; "": it qualifies
	form       form
	want, have int64
}

func (f fault) none() bool { return f.name == "" }

// form is how the words of a fault are made.
type form uint8

const (
	formPlain form = iota
	formConstraint
	formRuntime
	formArchitecture
	formNetwork
	formName
	formPort // have: which of those asked for
	formCores
	formMiB
	formNumber
	formFull     // no worker takes anything new
	formUnable   // no worker runs what is asked for
	formPromised // have: how many
)

// detail is the example that a user reads.
func (f fault) detail(e *entry, r Request) string {
	who := e.Name
	if who == "" {
		who = e.ID
	}
	if f.form == formPlain {
		return who
	}
	return who + ": " + f.words(r)
}

func (f fault) words(r Request) string {
	switch f.form {
	case formPlain:
	case formConstraint:
		return "not one of " + strings.Join(r.Only, ";")
	case formRuntime:
		return "no " + r.Runtime
	case formArchitecture:
		return "no " + strings.Join(r.Architectures, " or ")
	case formNetwork:
		return "no overlay"
	case formName:
		return "has another service of that name"
	case formPort:
		p := r.Ports[f.have]
		return fmt.Sprintf("%d/%s is used by another service", p.Host, p.Protocol)
	case formCores:
		return f.short(1000, "")
	case formMiB:
		return f.short(1, " MiB")
	case formNumber:
		return f.short(1, "")
	case formFull:
		return "none takes anything new"
	case formUnable:
		return "none runs all that is asked for"
	case formPromised:
		return fmt.Sprintf("%d instances are on their way there, what they leave is known with its next report", f.have)
	}
	return ""
}

// short says how much more is wanted than there is, in units of so many parts.
func (f fault) short(parts float64, unit string) string {
	amount := func(n int64) string { return strconv.FormatFloat(float64(n)/parts, 'f', -1, 64) }
	return fmt.Sprintf("%s > %s%s free", amount(f.want), amount(max(f.have, 0)), unit)
}

// refuse counts what speaks against each candidate. The example of a reason is
// the one with the least id, as in Tally of Explain.
func (x *Index) refuse(r Request) *Refusal {
	var t toll
	var named []*entry // of which the request says something
	for _, ids := range [][]string{r.Exclude, r.Taken} {
		for _, id := range ids {
			if e := x.byID[id]; e != nil {
				named = append(named, e)
			}
		}
	}
	wanted := x.features.wanted(r)
	// What lies in the tree is enough to judge a worker that runs what is asked
	// for: to look at ten thousand themselves is ten times as slow.
	plain := !x.rooms && !r.Restricted && len(r.Ports) == 0 && len(r.Architectures) < 2 && wanted&sharedBit == 0
	for i := range x.tree.dir {
		for k := range x.tree.dir[i].items {
			v := &x.tree.dir[i].items[k]
			if plain && v.mask&wanted == wanted && !slices.Contains(named, v.e) {
				t.add(judgeDemand(v.room, r.Demand), v.key)
			} else {
				t.add(x.judge(v.e, r, true), v.key)
			}
		}
	}
	for e := range x.shut {
		t.add(x.judge(e, r, true), key{prefix: e.prefix, e: e})
	}
	out := &Refusal{Candidates: t.all}
	for _, g := range t.groups {
		out.Reasons = append(out.Reasons, instance.Reason{Name: g.name, Count: g.count, Detail: g.detail(g.first.e, r)})
	}
	byCount(out.Reasons)
	return out
}

// toll counts faults by name.
type toll struct {
	all    int
	groups []group // a handful
}

type group struct {
	fault
	count int
	first key // its share says nothing
}

func (t *toll) add(f fault, k key) {
	t.all++
	for i := range t.groups {
		g := &t.groups[i]
		if g.name != f.name {
			continue
		}
		g.count++
		if k.prefix < g.first.prefix || k.prefix == g.first.prefix && k.e.ID < g.first.e.ID {
			g.fault, g.first = f, k
		}
		return
	}
	if !f.none() {
		t.groups = append(t.groups, group{f, 1, k})
	}
}

// refusals keeps what was refused since something changed last. Many instances
// wait for the same, and all of them ask again when room may have been freed:
// one look at all candidates answers them until something is placed.
type refusals struct {
	at   uint64 // generation of the index
	kept map[string]*Refusal
	key  []byte // of the last question
}

// mostKept bounds them; a cluster has few kinds of services that find no room.
const mostKept = 1024

func (m *refusals) find(generation uint64, r Request) *Refusal {
	if m.at != generation || len(m.kept) == 0 {
		return nil
	}
	m.key = r.key(m.key[:0])
	return m.kept[string(m.key)]
}

func (m *refusals) keep(generation uint64, r Request, v *Refusal) {
	if m.at != generation || m.kept == nil {
		m.at, m.kept = generation, map[string]*Refusal{}
	}
	if len(m.kept) < mostKept {
		m.key = r.key(m.key[:0])
		m.kept[string(m.key)] = v
	}
}

// key is all of a request that decides whether somebody qualifies, and what is
// said when nobody does. The service matters for who shares a host port with
// whom; who is avoided is taken when there is nobody else.
func (r Request) key(b []byte) []byte {
	list := func(values []string) {
		for _, v := range values {
			b = append(append(b, v...), 0)
		}
		b = append(b, 1)
	}
	number := func(n int64) { b = append(strconv.AppendInt(b, n, 36), 0) }
	number(r.Demand.MilliCPU)
	number(r.Demand.MemoryMB)
	number(r.Demand.GPUs)
	number(r.Demand.DiskMB)
	list([]string{r.Runtime})
	list(r.Architectures)
	b = strconv.AppendBool(strconv.AppendBool(b, r.Network), r.Restricted)
	list(r.Only)
	list(r.Exclude)
	list(r.Taken)
	for _, p := range r.Ports {
		number(int64(p.Host))
		list([]string{string(p.Protocol)})
	}
	if len(r.Ports) > 0 {
		list([]string{string(r.Service)})
	}
	return b
}
