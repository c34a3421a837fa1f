package placement

import "oakestra/pkg/core/model"

// tally counts the instances of each service on a candidate. Workers hold few
// services, which lie side by side; clusters hold thousands.
type tally struct {
	few  []serviceCount
	many map[model.ServiceID]int // instead, once there are more than a few
}

type serviceCount struct {
	service model.ServiceID
	count   int
}

const aFew = 16

func (t *tally) of(s model.ServiceID) int {
	if t.many != nil {
		return t.many[s]
	}
	for i := range t.few {
		if t.few[i].service == s {
			return t.few[i].count
		}
	}
	return 0
}

// add changes a count, which is never left at zero.
func (t *tally) add(s model.ServiceID, n int) {
	if t.many != nil {
		if t.many[s] += n; t.many[s] == 0 {
			delete(t.many, s)
		}
		return
	}
	for i := range t.few {
		if t.few[i].service != s {
			continue
		}
		if t.few[i].count += n; t.few[i].count == 0 {
			last := len(t.few) - 1
			t.few[i] = t.few[last]
			t.few[last] = serviceCount{}
			t.few = t.few[:last]
		}
		return
	}
	if len(t.few) < aFew {
		t.few = append(t.few, serviceCount{s, n})
		return
	}
	t.many = map[model.ServiceID]int{s: n}
	for _, v := range t.few {
		t.many[v.service] = v.count
	}
	t.few = nil
}

func (t *tally) empty() bool { return len(t.few)+len(t.many) == 0 }

// each visits all; the order is arbitrary.
func (t *tally) each(visit func(s model.ServiceID, n int)) {
	for _, v := range t.few {
		visit(v.service, v.count)
	}
	for s, n := range t.many {
		visit(s, n)
	}
}
