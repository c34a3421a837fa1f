package clusterlink

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/api/mqtt"
	"oakestra/node/telemetry"
	"oakestra/pkg/errs"
)

func TestARingNamesWhereToDial(t *testing.T) {
	want := mqtt.Session{ID: strings.Repeat("0a", 16), Kind: "exec", ServiceID: "s1", InstanceNumber: 2, Grant: 3, Try: 4, Command: []string{"sh"}, Stdin: true, TTY: true, Columns: 80, Rows: 24}
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeSession(body)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	for _, bad := range []string{"", "[]", `{"id":"0a"}`, `{"service_id":"s1"}`, `{"id":"../x","service_id":"s1"}`, `{"id":"0A","service_id":"s1"}`} {
		if got, err := decodeSession([]byte(bad)); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %+v %v", bad, got, err)
		}
	}
}

func TestAWorkerSaysWhatItCanBeAsked(t *testing.T) {
	r := register(Config{Abilities: []string{"logs"}}, Identity{}, "boot", telemetry.Facts{}, telemetry.Load{})
	if !slices.Equal(r.Abilities, []string{"logs"}) {
		t.Errorf("%+v", r)
	}
}
