package http

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"oakestra/pkg/core/model"
)

func TestRegistrationOfAllGenerations(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.2")
	for name, c := range map[string]struct {
		body string
		want model.Resources
	}{
		"early": {`{"host":"vm","free_cores":2,"memory":50,"memory_free_in_MB":1000,"technology":["docker"],"system_info":{"architecture":"x86_64"}}`,
			model.Resources{MilliCPU: 2000, MemoryMB: 2000}},
		"late": {`{"host":"vm","vcpus":4,"memory_percent":75,"memory":1000,"vgpus":1,"virtualization":["docker"],"architecture":"amd64"}`,
			model.Resources{MilliCPU: 4000, MemoryMB: 4000, GPUs: 1}},
		"ours": {`{"host":"vm","free_cores":9,"milli_cpu":1500,"memory_total_mb":512,"disk_total_mb":7,"technology":["docker"],"architecture":"amd64","node_key":"k"}`,
			model.Resources{MilliCPU: 1500, MemoryMB: 512, DiskMB: 7}},
	} {
		r, err := registrationFrom([]byte(c.body), peer)
		if err != nil || r.Capacity != c.want || r.Architecture != "amd64" || !slices.Contains(r.Runtimes, "container") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := registrationFrom([]byte(`{"host":"a/b"}`), peer); err == nil || !strings.Contains(err.Error(), `host`) || !strings.Contains(err.Error(), "a/b") {
		t.Errorf("bad host: %v", err)
	}
}
