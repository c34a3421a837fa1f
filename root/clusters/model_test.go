package clusters

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
)

// oracle is what tables should come to, the slow way. A cluster remembers its
// slices and interests and says them again when it is back, as cluster
// managers do, unless it has lost them.
type oracle struct {
	*plane
	exists  [2]bool
	slices  map[model.ClusterID]map[string][]uint32
	asked   map[model.ClusterID]map[string]string // worker by query
	queries []string
}

var three = []model.ClusterID{"a", "b", "c"}

func newModel() *oracle {
	o := &oracle{
		plane: newPlane(three...), exists: [2]bool{true, true}, slices: map[model.ClusterID]map[string][]uint32{}, asked: map[model.ClusterID]map[string]string{},
		queries: []string{"s.x.y.z", "10.30.0.1", "q.x.y.z", "10.30.0.2"},
	}
	for _, c := range three {
		o.slices[c], o.asked[c] = map[string][]uint32{}, map[string]string{}
	}
	o.announce()
	return o
}

func (o *oracle) announce() {
	var list []model.Service
	for i, there := range o.exists {
		if there {
			list = append(list, service([]string{"s", "q"}[i], byte(i+1)))
		}
	}
	o.known(list...)
}

func (o *oracle) act(v act) {
	c, svc, query := three[v.cluster], []string{"s", "q"}[v.thing%2], o.queries[v.thing]
	there := o.sessions[c] != nil
	switch v.what {
	case "slice":
		if there {
			o.hosts(c, svc, v.numbers...)
			o.slices[c][svc] = v.numbers
		}
	case "ask":
		if there {
			w := fmt.Sprint("w", len(v.numbers))
			o.asks(c, query, w)
			o.asked[c][query] = w
		}
	case "drop":
		if there {
			o.interest(c, o.sessions[c], &linkv1.Interest{Query: query, Remove: true})
			delete(o.asked[c], query)
		}
	case "leave":
		if there {
			o.leave(c)
		}
	case "join":
		o.back(c)
	case "forget": // it comes back with nothing
		if there {
			o.leave(c)
		}
		o.join(c)
		clear(o.slices[c])
		clear(o.asked[c])
		time.Sleep(forgetAfter + time.Second)
		o.look()
	case "exists":
		o.exists[v.thing%2] = !o.exists[v.thing%2]
		o.announce()
	case "wait":
		time.Sleep(time.Duration(10*v.thing) * time.Second)
		o.look()
	}
}

// back is a return with everything in hand.
func (o *oracle) back(c model.ClusterID) {
	if o.sessions[c] != nil {
		return
	}
	o.join(c)
	for svc, numbers := range o.slices[c] {
		o.hosts(c, svc, numbers...)
	}
	for q, w := range o.asked[c] {
		o.asks(c, q, w)
	}
}

// look is what aggregates make the root do.
func (o *oracle) look() {
	for _, c := range three {
		if o.sessions[c] != nil {
			o.review(c, o.sessions[c])
		}
	}
}

// play acts, lets time pass, and says what is wrong.
func (o *oracle) play(acts []act) string {
	for _, v := range acts {
		o.act(v)
	}
	time.Sleep(forgetAfter + time.Second)
	o.look()
	for _, c := range three {
		if o.sessions[c] == nil {
			continue
		}
		for q := range o.asked[c] {
			if got, want := o.table(c, q), o.want(c, q); got != want {
				return fmt.Sprintf("%s has of %s %q, want %q", c, q, got, want)
			}
		}
		for svc, numbers := range o.slices[c] {
			if got, want := o.present(o.talkers(c, svc)), o.clients(c, svc); len(numbers) > 0 && got != want && o.exists[strings.Index("sq", svc)] {
				return fmt.Sprintf("%s, which hosts %s, knows of %q, want %q", c, svc, got, want)
			}
		}
	}
	return ""
}

// want is the table of a query.
func (o *oracle) want(asker model.ClusterID, query string) string {
	svc := o.meaning(query)
	if svc == "" {
		return "unknown"
	}
	out := svc
	for _, c := range three {
		numbers := o.slices[c][svc]
		if c == asker || len(numbers) == 0 {
			continue
		}
		out += " " + string(c)
		for _, n := range numbers {
			out += fmt.Sprintf(".%d", n)
		}
		if o.sessions[c] == nil {
			out += "?"
		}
	}
	return out
}

func (o *oracle) meaning(query string) string {
	i := slices.Index(o.queries, query) / 2
	if !o.exists[i] {
		return ""
	}
	return []string{"s", "q"}[i]
}

// present leaves out the workers of clusters that are away: what their queries
// mean is looked at when they are back.
func (o *oracle) present(talkers string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(talkers), func(w string) bool { return o.sessions[model.ClusterID(w[:1])] == nil }), " ")
}

// clients are the workers of others that ask for a service.
func (o *oracle) clients(host model.ClusterID, svc string) string {
	names := map[string]bool{}
	for _, c := range three {
		for q, w := range o.asked[c] {
			if c != host && o.sessions[c] != nil && o.meaning(q) == svc {
				names[string(c)+"."+w] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), " ")
}
