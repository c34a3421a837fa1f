package boltstore

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// What is read by hand is what encoding/json reads, of whatever was written.
func TestQuickReadsWhatJSONReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := serviceRecord{header: header{rapid.IntRange(0, 2).Draw(t, "v")}, serviceFields: someService(t)}
		if compare(t, s) == 0 && plain(t, s) {
			t.Fatalf("gives up at %+v", s)
		}
		c := claimRecord{current(), someText(t, "holder"), time.Time{}}
		if rapid.Bool().Draw(t, "rests") {
			c.Until = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "until"), 0).UTC()
		}
		compare(t, c)
		in := someInstance(t)
		if s := (serviceRecord{header: current(), serviceFields: in.Assigned}); compare(t, in) == 0 && plain(t, s) && in.Service != "" {
			t.Fatalf("gives up at %+v", in)
		}
	})
}

// compare returns how many of one record were read by hand.
func compare[R versioned](t *rapid.T, r R) (read int) {
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return agree[R](t, raw)
}

func agree[R versioned](t interface{ Fatalf(string, ...any) }, raw []byte) (read int) {
	var got, want R
	if !any(&got).(quick).quick(raw) {
		return 0
	}
	if err := json.Unmarshal(raw, &want); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is read as\n%+v, want\n%+v (%v)", raw, got, want, err)
	}
	return 1
}

// plain says that a record is of the kind there are most of.
func plain(t *rapid.T, s serviceRecord) bool {
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range raw {
		if b == '\\' || b >= 0x7f || b == '-' {
			return false
		}
	}
	return s.Spec.Constraints == nil && s.Spec.Arch == nil && !s.Spec.OneShot && s.Spec.OnClusterLoss == "" && s.Revision < 1e18 && s.Spec.MilliCPU < 1e18
}

func someText(t *rapid.T, what string) string {
	return rapid.OneOf(rapid.StringMatching(`[a-z0-9./:=;]{0,12}`), rapid.String()).Draw(t, what)
}

func someService(t *rapid.T) serviceFields {
	f := serviceFields{
		ID: model.ServiceID(someText(t, "id")), Application: model.ApplicationID(someText(t, "application")), Owner: someText(t, "owner"), Name: someText(t, "name"),
		Chosen: rapid.Bool().Draw(t, "chosen"), NextNumber: rapid.IntRange(0, 1<<40).Draw(t, "next"), Revision: rapid.Uint64().Draw(t, "revision"),
		Spec: specFields{
			Image: someText(t, "image"), Runtime: someText(t, "runtime"), MilliCPU: rapid.Int64().Draw(t, "cpu"), MemoryMB: rapid.Int64Range(0, 1<<40).Draw(t, "memory"),
			GPUs: rapid.Int64Range(0, 8).Draw(t, "gpus"), DiskMB: rapid.Int64Range(0, 8).Draw(t, "disk"), PortText: someText(t, "ports"), OneShot: rapid.Bool().Draw(t, "once"),
		},
	}
	if rapid.Bool().Draw(t, "addressed") {
		f.Address = netip.AddrFrom4([4]byte{10, 30, rapid.Byte().Draw(t, "x"), rapid.Byte().Draw(t, "y")})
	}
	texts := rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9 =/;,.{}\[\]:]{0,8}`), 0, 3)
	f.Spec.Command, f.Spec.Environment = texts.Draw(t, "command"), texts.Draw(t, "environment")
	for range rapid.IntRange(0, 2).Draw(t, "published") {
		f.Spec.Ports = append(f.Spec.Ports, portFields{rapid.Uint16().Draw(t, "host"), rapid.Uint16().Draw(t, "container"), model.UDP})
	}
	if rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
		f.Spec.Arch = []string{"arm64"}
	}
	return f
}

func someInstance(t *rapid.T) instanceRecord {
	in := instanceRecord{
		header: current(), Service: model.ServiceID(rapid.StringMatching(`[0-9a-f]{0,24}`).Draw(t, "service")), Number: rapid.IntRange(0, 1<<40).Draw(t, "number"),
		Cluster: model.ClusterID(rapid.StringMatching(`[0-9a-f]{0,24}`).Draw(t, "cluster")), Grant: instance.Grant(rapid.Uint64().Draw(t, "grant")),
		Revision: rapid.Uint64().Draw(t, "at"), Tombstone: rapid.Bool().Draw(t, "ended"),
		CreatedAt: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "made"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).UTC(),
	}
	if rapid.Bool().Draw(t, "assigned") {
		in.Assigned = someService(t)
	}
	if rapid.Bool().Draw(t, "reachable") {
		in.Address = netip.AddrFrom4([4]byte{10, 30, rapid.Byte().Draw(t, "x"), rapid.Byte().Draw(t, "y")})
	}
	return in
}

// FuzzQuick: damaged records, too, are refused or read as encoding/json does.
func FuzzQuick(f *testing.F) {
	for _, s := range []string{
		`{"v":1,"id":"a","spec":{"image":"x","ports":[{"host":1,"container":65535,"protocol":"tcp"}],"command":["a"]},"address":"10.30.0.1","chosen":true,"next_number":3}`,
		`{"v":01}`, `{"v":1.5}`, `{"v":1,}`, `{,"v":1}`, `{"v":1}}`, `{"chosen":tru`, `{"spec":{"ports":[{"host":65536}]}}`, `{"v":1,"holder":"a"}`, `{"address":""}`,
		`{"v":1,"service":"a","number":2,"address":"10.30.0.9","cluster":"c","grant":18446744073709551615,"revision":3,"tombstone":true,"assigned":{"id":"a"},"created_at":"2026-01-02T03:04:05.000000006Z"}`,
		`{"grant":18446744073709551616}`, `{"grant":01}`, `{"grant":}`, `{"created_at":"2026-01-02T03:04:05+24:00"}`, `{"created_at":""}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		agree[serviceRecord](t, raw)
		agree[claimRecord](t, raw)
		agree[instanceRecord](t, raw)
	})
}
