package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"oakestra/netmanager/host"
)

// States of sockets in /proc/<pid>/net, see include/net/tcp_states.h of the
// kernel: a UDP socket without a peer is "closed".
const (
	stateListen  = "0A"
	stateUnbound = "07"
)

// Listens looks at the sockets of the namespace.
func (h *Host) Listens(_ context.Context, a host.Attachment) (bool, error) {
	if _, err := identify(a); err != nil {
		return false, err
	}
	var errs []error
	for file, state := range map[string]string{"tcp": stateListen, "tcp6": stateListen, "udp": stateUnbound, "udp6": stateUnbound} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", a.Pid, file))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6, or the process has ended
			errs = append(errs, err)
			continue
		}
		if hasState(string(text), state) {
			return true, nil
		}
	}
	return false, errors.Join(errs...)
}

// hasState says whether a table of sockets has one in a state. The first line
// is a header; the fourth field is the state.
func hasState(table, state string) bool {
	_, lines, _ := strings.Cut(table, "\n")
	for _, line := range strings.Split(lines, "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[3] == state {
			return true
		}
	}
	return false
}
