package rules

import (
	"maps"
	"slices"
)

// Element is one entry of a set.
type Element struct {
	Key   Key
	Value Value
}

// Changes turns one Ruleset into another, in one transaction, in this order:
// delete Gone elements, drop Remade chains, make New ones, fill Rewritten and
// New, add elements, delete Old chains.
type Changes struct {
	Remade    []string // hook differs: made again
	New       []string
	Rewritten []string // same hook, other rules
	Old       []string
	Gone      map[string][]Element
	Added     map[string][]Element
}

// Empty says that there is nothing to write.
func (c Changes) Empty() bool {
	return len(c.Remade)+len(c.New)+len(c.Rewritten)+len(c.Old)+len(c.Gone)+len(c.Added) == 0
}

// Diff says what to change so that have becomes want. Both may share parts.
func Diff(have, want Ruleset) Changes {
	c := Changes{Gone: map[string][]Element{}, Added: map[string][]Element{}}
	for _, name := range slices.Sorted(maps.Keys(want.Chains)) {
		old, ok := have.Chains[name]
		switch {
		case !ok:
			c.New = append(c.New, name)
		case old.Hook != want.Chains[name].Hook:
			c.Remade = append(c.Remade, name)
		case !slices.EqualFunc(old.Rules, want.Chains[name].Rules, func(a, b Rule) bool { return a.Text == b.Text }):
			c.Rewritten = append(c.Rewritten, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Chains)) {
		if _, ok := want.Chains[name]; !ok {
			c.Old = append(c.Old, name)
		}
	}
	for _, name := range Sets() {
		diffSet(&c, name, have.Sets[name], want.Sets[name])
	}
	return c
}

func diffSet(c *Changes, name string, have, want map[Key]Value) {
	for k, v := range have {
		if w, ok := want[k]; !ok || w != v {
			c.Gone[name] = append(c.Gone[name], Element{k, v})
		}
	}
	for k, v := range want {
		if w, ok := have[k]; !ok || w != v {
			c.Added[name] = append(c.Added[name], Element{k, v})
		}
	}
}
