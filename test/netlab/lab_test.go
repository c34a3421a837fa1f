package netlab

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root; run: sudo make test")
	}
}

func TestHostsReachEachOtherUntilOneIsCutOff(t *testing.T) {
	needRoot(t)
	lab := New(t, Config{Hosts: []string{"a", "b"}})
	a, b := lab.Host("a"), lab.Host("b")
	if out, err := a.Run("ping", "-c1", "-W2", b.Addr); err != nil {
		t.Fatal(err, out)
	}
	if err := b.Down(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Run("ping", "-c1", "-W1", b.Addr); err == nil {
		t.Fatal("a host that is cut off answers")
	}
	if err := b.Up(); err != nil {
		t.Fatal(err)
	}
}

func TestCloseLeavesNoProcessAndNoNamespace(t *testing.T) {
	needRoot(t)
	lab := New(t, Config{Hosts: []string{"a"}})
	p := lab.Host("a").Start(t, Program{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & unshare -n sleep 1000"}})
	// The inner sleep leaves the namespace, as a container does.
	waitChildren(t, p.Pid(), 2)
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	if err := lab.Close(true); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("ip", "netns", "list").CombinedOutput()
	if strings.Contains(string(out), lab.prefix) {
		t.Errorf("namespaces are left: %s", out)
	}
	if _, err := os.Stat(lab.Dir); !os.IsNotExist(err) {
		t.Errorf("directory is left: %v", err)
	}
}

func waitChildren(t *testing.T, pid, n int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		out, _ := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
		if len(strings.Fields(string(out))) >= n {
			return
		}
	}
	t.Fatalf("process %d has not %d children", pid, n)
}
