package clusterlink

import (
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"oakestra/api/mqtt"
	"oakestra/node/telemetry"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/errs"
)

// An order that makes no sense is answered, if it can be told which attempt it
// was to start.
func TestAnOrderWithoutSenseHasFailed(t *testing.T) {
	for _, c := range []struct {
		name  string
		order any
		said  bool
	}{
		{"no image", mqtt.Deploy{ID: "0123456789abcdef01234567", JobName: "a.b.c.d", InstanceNumber: 2, Grant: 7, Try: 3}, true},
		{"no service", mqtt.Deploy{JobName: "a.b.c.d", Image: "x", Grant: 7, Try: 3}, false},
		{"a service that is a path", mqtt.Deploy{ID: "../x", JobName: "a.b.c.d", Grant: 7, Try: 3}, false},
		{"something else", []int{1}, false},
	} {
		l := New(Config{Data: t.TempDir()}, idle{}, telemetry.New(t.TempDir()), slog.New(slog.DiscardHandler), nil)
		session := &talk{Link: l, node: "w1"}
		body, err := json.Marshal(c.order)
		if err != nil {
			t.Fatal(err)
		}
		if err := session.deploy(t.Context(), body); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(l.changes) != 0 != c.said {
			t.Errorf("%s: %d changes were said", c.name, len(l.changes))
		}
		if !c.said || len(l.changes) == 0 {
			continue
		}
		r := <-l.changes
		if a := r.Spec.Attempt(); r.State != instance.Failed || r.Reason == "" || a.Epoch != (instance.Epoch{Grant: 7, Try: 3}) || a.Instance.Number != 2 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}
