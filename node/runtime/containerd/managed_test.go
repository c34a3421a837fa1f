package containerd

import (
	"os/exec"
	"testing"
)

// A shim that nobody told to end goes with its containerd; one of another
// containerd stays.
func TestStopEndsTheShimsOfItsOwnSocket(t *testing.T) {
	m, other := Managed{Data: t.TempDir(), Run: t.TempDir()}, Managed{Run: t.TempDir()}
	shim := func(m Managed) (ended chan error, end func()) {
		cmd := exec.Command("/bin/sh")
		cmd.Args = []string{"/usr/bin/containerd-shim-runc-v2", "-c", "read line; :", "-namespace", "-address", m.Socket()}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return ended, func() { in.Close() }
	}
	mine, end := shim(m)
	defer end()
	theirs, endTheirs := shim(other)
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-mine; err == nil || err.Error() != "signal: killed" {
		t.Errorf("its own shim: %v, want killed", err)
	}
	endTheirs()
	if err := <-theirs; err != nil && err.Error() == "signal: killed" {
		t.Error("the shim of another containerd was killed")
	}
}
