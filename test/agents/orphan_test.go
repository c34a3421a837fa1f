package agents

import (
	"errors"
	"fmt"
	"testing"

	"oakestra/cluster/fleet"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
)

// leave puts a container on the machine that nobody ordered.
func (e *Engine) leave(name string, number int) {
	t := task{Name: name, Number: number, Runtime: "docker"}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks[t.id()] = t
}

// What runs without a record is removed by an order, over the real broker and
// in the words of the agent; what belongs to an instance is not.
func TestAnOrphanIsRemoved(t *testing.T) {
	each(t, func(t *testing.T, g Generation, m *manager) {
		e := StartEngine(t, g, m.http, "vm", "m1", true)
		m.assign(0, 7, false)
		m.reaches(0, instance.Running, nil)
		e.leave("left.test.over.test", 0)
		e.leave(service, 1)
		end := func(name string, number int) error {
			return m.fleet.EndOrphan(t.Context(), fleet.Orphan{Node: model.NodeID(e.ID), Name: name, Instance: model.InstanceID{Number: number}})
		}
		for name, number := range map[string]int{"left.test.over.test": 0, service: 1} {
			testkit.Eventually(t, long, func() error { return end(name, number) })
		}
		if err := end(service, 0); !errors.Is(err, errs.Conflict) {
			t.Errorf("the instance: %v", err)
		}
		testkit.Eventually(t, long, func() error {
			s, err := m.fleet.Snapshot(t.Context())
			if len(s.Orphans) > 0 || len(e.Tasks()) != 1 {
				return fmt.Errorf("it runs %+v; orphans %+v, %w", e.Tasks(), s.Orphans, err)
			}
			return err
		})
		e.wants(t, 1)
		m.reaches(0, instance.Running, nil)
		if f := m.facts(0); f.Placement.Try != 1 {
			t.Errorf("%+v", f)
		}
	})
}
