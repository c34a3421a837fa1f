package linkv1

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var update = flag.Bool("update", false, "add what is new to the golden file; what is gone stays")

const kept = "testdata/wire.golden"

// lines describes everything that is fixed on the wire, one line each.
func lines(f protoreflect.FileDescriptor) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i := range f.Services().Len() {
		s := f.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			add("rpc /%s/%s(stream %v %s) returns (stream %v %s)", s.FullName(), m.Name(), m.IsStreamingClient(), m.Input().Name(), m.IsStreamingServer(), m.Output().Name())
		}
	}
	for i := range f.Messages().Len() {
		m := f.Messages().Get(i)
		for j := range m.Fields().Len() {
			d := m.Fields().Get(j)
			kind := d.Kind().String()
			switch {
			case d.Message() != nil:
				kind = string(d.Message().Name())
			case d.Enum() != nil:
				kind = string(d.Enum().Name())
			}
			one := ""
			if o := d.ContainingOneof(); o != nil {
				one = " of " + string(o.Name())
			}
			add("%s %d = %s %s %s%s", m.Name(), d.Number(), d.Cardinality(), kind, d.Name(), one)
		}
	}
	for i := range f.Enums().Len() {
		e := f.Enums().Get(i)
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			add("%s %d = %s", e.Name(), v.Number(), v.Name())
		}
	}
	slices.Sort(out)
	return out
}

// A number, a type or a name that somebody may have sent already never means
// something else, and is not used again: every line of the golden file stays.
// Another line may come: go test ./api/link/v1 -update.
func TestNothingOnTheWireChanges(t *testing.T) {
	have := lines(File_api_link_v1_link_proto)
	text, err := os.ReadFile(kept)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	if *update {
		want = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(append(want, have...)))), func(s string) bool { return s == "" })
		if err := os.WriteFile(kept, []byte(strings.Join(want, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range want {
		if !slices.Contains(have, l) {
			t.Errorf("gone or changed, which breaks clusters of another version: %s", l)
		}
	}
	for _, l := range have {
		if !slices.Contains(want, l) {
			t.Errorf("new; if it is meant, run go test ./api/link/v1 -update: %s", l)
		}
	}
}

// Logs and exec have a stream of their own, so that output never delays a
// heartbeat. The messages are there from the first day.
func TestSessionsHaveTheirOwnStream(t *testing.T) {
	s := File_api_link_v1_link_proto.Services().ByName("Link")
	m := s.Methods().ByName("Session")
	if m == nil || !m.IsStreamingClient() || !m.IsStreamingServer() || m.Input().Name() != "SessionFrame" || m.Output().Name() != "SessionFrame" {
		t.Fatalf("%v", m)
	}
	for _, message := range []string{"Up", "Down"} {
		fields := File_api_link_v1_link_proto.Messages().ByName(protoreflect.Name(message)).Fields()
		for i := range fields.Len() {
			if f := fields.Get(i); f.Message() != nil && f.Message().Name() == "SessionFrame" {
				t.Errorf("%s carries session frames in %s", message, f.Name())
			}
		}
	}
	if File_api_link_v1_link_proto.Messages().ByName("Down").Fields().ByName("attach") == nil {
		t.Error("the root cannot ask for a session")
	}
}
