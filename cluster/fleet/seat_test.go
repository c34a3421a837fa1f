package fleet

import (
	"errors"
	"slices"
	"testing"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

func TestASeatIsWhereTheCurrentAttemptIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, "w1")
		if _, err := r.f.Seat(r.ctx, model.InstanceID{Service: "nobody"}); !errors.Is(err, errs.NotFound) {
			t.Errorf("of nobody: %v", err)
		}
		r.desire(false)
		time.Sleep(3 * time.Second)
		id, err := r.f.Holdings(r.ctx)
		if err != nil || len(id.Slots) != 1 {
			t.Fatal(id, err)
		}
		slot := id.Slots[0]
		seat, err := r.f.Seat(r.ctx, slot.Instance)
		if err != nil || seat.Node != "w1" || seat.Live != instance.Alive || seat.Attempt.Epoch != slot.Started() || seat.State != instance.Running || seat.Original {
			t.Errorf("%+v, %v", seat, err)
		}
		if live, err := r.f.Liveness(r.ctx, "w1"); err != nil || live != instance.Alive {
			t.Error(live, err)
		}
		if live, err := r.f.Liveness(r.ctx, "w9"); err != nil || live != instance.Lost {
			t.Errorf("a worker that is not known: %v %v", live, err)
		}
		r.desire(true)
		time.Sleep(time.Second)
		if _, err := r.f.Seat(r.ctx, slot.Instance); !errors.Is(err, errs.NotFound) {
			t.Errorf("removed: %v", err)
		}
	})
}

func TestWhatAWorkerCanBeAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		in := registration("w1")
		in.Version, in.Abilities = "2", []string{"logs"}
		r.admit(in)
		time.Sleep(3 * time.Second)
		r.desire(false)
		time.Sleep(3 * time.Second)
		held, err := r.f.Holdings(r.ctx)
		if err != nil || len(held.Slots) != 1 {
			t.Fatal(held, err)
		}
		if seat, err := r.f.Seat(r.ctx, held.Slots[0].Instance); err != nil || !slices.Equal(seat.Abilities, []string{"logs"}) || seat.Version != "2" {
			t.Errorf("%+v, %v", seat, err)
		}
	})
}
