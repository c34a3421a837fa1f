package netlab

import (
	"errors"
	"strings"
)

// PowerOff takes a host away as a pulled plug does: every process in its
// network, with all descendants, is killed, and the network with its links and
// rules is gone. The disk, which is the lab's directory, stays. Of programs
// that were started with Start the test must say that it expects their end,
// with Process.Expect, or it takes that for a crash.
func (h *Host) PowerOff() error {
	if err := killAll([]string{h.netns}); err != nil {
		return err
	}
	// The pair of links goes at once; a namespace is taken down some time later.
	err := ip("-n", h.lab.prefix+switchName, "link", "delete", h.port())
	return errors.Join(err, ip("netns", "delete", h.netns))
}

// PowerOn gives a host that was powered off an empty network with the same
// address.
func (h *Host) PowerOn() error {
	for _, s := range h.steps() {
		if err := ip(s...); err != nil {
			return err
		}
	}
	return nil
}

// UnmountBelow removes the mounts below a directory.
func UnmountBelow(dir string) error { return unmountBelow(dir) }

// Bridged lists the links of a bridge of the host.
func (h *Host) Bridged(bridge string) ([]string, error) {
	out, err := h.Run("ip", "-brief", "link", "show", "master", bridge)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(line); len(f) > 0 {
			name, _, _ := strings.Cut(f[0], "@")
			names = append(names, name)
		}
	}
	return names, nil
}
