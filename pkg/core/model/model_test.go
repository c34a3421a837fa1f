package model

import (
	"testing"

	"pgregory.net/rapid"
)

func TestInstanceIDsReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := InstanceID{
			Service: ServiceID(rapid.StringMatching(`[0-9a-f]{24}`).Draw(t, "service")),
			Number:  rapid.IntRange(0, 1<<31).Draw(t, "number"),
		}
		if got, err := ParseInstanceID(id.String()); err != nil || got != id {
			t.Fatalf("%s reads as %v, %v", id, got, err)
		}
	})
}

func TestTextThatIsNoInstanceID(t *testing.T) {
	for _, s := range []string{"", "/", "abc", "abc/", "/1", "abc/-1", "abc/x", "abc/1/2", "abc/1 "} {
		if id, err := ParseInstanceID(s); err == nil {
			t.Errorf("ParseInstanceID(%q) = %v", s, id)
		}
	}
}

func TestInstanceIDsOrderByServiceThenNumber(t *testing.T) {
	order := []InstanceID{{"a", 2}, {"a", 10}, {"b", 0}, {"b", 1}}
	for i, a := range order {
		for j, b := range order {
			if a.Less(b) != (i < j) {
				t.Errorf("%s < %s = %v", a, b, a.Less(b))
			}
		}
	}
}

func TestServiceNamesReadWhatTheyWrite(t *testing.T) {
	part := rapid.StringMatching(`[a-zA-Z0-9]{1,30}`)
	rapid.Check(t, func(t *rapid.T) {
		n := ServiceName{part.Draw(t, "app"), part.Draw(t, "app ns"), part.Draw(t, "service"), part.Draw(t, "service ns")}
		if got, ok := ParseServiceName(n.String()); !ok || got != n {
			t.Fatalf("%s reads as %v, %v", n, got, ok)
		}
	})
	for _, s := range []string{"", "a.b.c", "a.b.c.d.e", "a..c.d", ".b.c.d", "a.b.c."} {
		if n, ok := ParseServiceName(s); ok {
			t.Errorf("ParseServiceName(%q) = %v", s, n)
		}
	}
}

func TestResourcesAddSubFit(t *testing.T) {
	amount := rapid.Custom(func(t *rapid.T) Resources {
		part := rapid.Int64Range(0, 1000)
		return Resources{part.Draw(t, "cpu"), part.Draw(t, "memory"), part.Draw(t, "gpus"), part.Draw(t, "disk")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := amount.Draw(t, "a"), amount.Draw(t, "b")
		if a.Add(b).Sub(b) != a || a.Add(b) != b.Add(a) {
			t.Fatalf("%+v and %+v do not add up", a, b)
		}
		if !a.Add(b).Fits(a) || !a.Fits(Resources{}) {
			t.Fatalf("%+v does not fit into more than itself", a)
		}
		rest := a.Sub(b)
		if fits := rest.MilliCPU >= 0 && rest.MemoryMB >= 0 && rest.GPUs >= 0 && rest.DiskMB >= 0; a.Fits(b) != fits {
			t.Fatalf("%+v fits %+v: %v", a, b, a.Fits(b))
		}
	})
}

func TestOnlyPortsAndChosenAddressesNeedTheNetwork(t *testing.T) {
	with := ServiceSpec{Ports: []Port{{Host: 80, Container: 80, Protocol: TCP}}}
	if (ServiceSpec{}).NeedsNetwork(false) || !(ServiceSpec{}).NeedsNetwork(true) || !with.NeedsNetwork(false) {
		t.Error("a service needs the overlay when it has a port or a chosen address")
	}
}
