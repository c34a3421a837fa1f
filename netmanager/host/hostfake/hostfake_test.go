package hostfake_test

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"oakestra/netmanager/host/hostfake"
	"oakestra/netmanager/host/hosttest"
)

func TestContract(t *testing.T) {
	var pids atomic.Int32
	hosttest.Run(t, func(t *testing.T) hosttest.Machine {
		h := hostfake.New()
		return hosttest.Machine{Host: h, Underlay: netip.MustParseAddr("192.0.2.1"), Run: func(*testing.T) {}, Process: func(*testing.T) (int, func()) {
			pid := int(pids.Add(1)) + 1000
			return pid, func() { h.Kill(pid) }
		}}
	})
}
