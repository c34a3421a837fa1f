package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
	"oakestra/test/site"
)

// TestOneMachine is the life of `oak up` on one machine, in a network of its
// own: up, deploy, stop, up again, down; and nothing is left.
func TestOneMachine(t *testing.T) {
	bin := site.Binaries(t)
	lab := netlab.New(t, netlab.Config{Hosts: []string{"one"}})
	m := &machine{t: t, lab: lab, host: lab.Host("one"), bin: bin, state: lab.Path("state")}
	registries := site.Registry(t, lab, bin, "one")
	before := m.listing()

	up := []string{"up", "-d", "--state", m.state, "--registries", registries, "--node", "solo"}
	out := m.oak(up...)
	for _, want := range []string{"root answers", "overlay is up", "http://localhost:10000", "Admin", "oak down"} {
		if !strings.Contains(out, want) {
			t.Errorf("oak up does not say %q:\n%s", want, out)
		}
	}
	m.oak("deploy", filepath.Join("..", "..", "deploy", "deploy_curl_application.json"), "--wait", "--timeout", "2m")
	m.page()
	pids := m.containers()
	if strings.Count(pids, "\n") != 1 {
		t.Fatalf("containers: %v", pids)
	}

	// Stopping the daemons leaves the workloads and their network.
	m.oak("stop", "--state", m.state)
	m.page()
	if got := m.containers(); got != pids {
		t.Errorf("after oak stop: %v, want %v", got, pids)
	}
	// The next start adopts them.
	m.oak(up...)
	m.oak("wait", "clientsrvr", "--timeout", "30s")
	if got := m.containers(); got != pids {
		t.Errorf("after oak up: %v, want %v", got, pids)
	}
	m.page()
	if out := m.oak(up...); !strings.Contains(out, "already running") {
		t.Errorf("a second oak up says:\n%s", out)
	}
	var nodes []map[string]any
	if err := json.Unmarshal([]byte(m.oak("nodes", "--json")), &nodes); err != nil || len(nodes) != 1 {
		t.Errorf("oak nodes --json: %v %v", err, nodes)
	}

	m.oak("down", "--state", m.state)
	if after := m.listing(); after != before {
		t.Errorf("oak down left something:\n--- before\n%s\n--- after\n%s", before, after)
	}
	if _, err := os.Stat(m.state); !os.IsNotExist(err) {
		t.Errorf("the state directory is left: %v", err)
	}
	m.oak("down", "--state", m.state) // again is no error
}

type machine struct {
	t     *testing.T
	lab   *netlab.Lab
	host  *netlab.Host
	bin   string
	state string
}

func (m *machine) oak(args ...string) string {
	m.t.Helper()
	out, err := m.host.RunFor(3*time.Minute, filepath.Join(m.bin, "oak"), args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

func (m *machine) page() {
	m.t.Helper()
	out, err := m.host.Run(filepath.Join(m.bin, "NodeEngine"), "exec", "-data", filepath.Join(m.state, "node"),
		"clientsrvr.test.curl.test", "0", "curl", "-sS", "-m", "10", "http://10.30.30.30/")
	if err != nil || !strings.Contains(out, "Welcome to nginx") {
		m.t.Fatalf("%v: %s", err, out)
	}
}

// containers lists the containers of this machine with their first process.
func (m *machine) containers() string {
	var list []string
	for _, c := range site.ContainersOf("solo") {
		list = append(list, fmt.Sprintf("%d %s", c.Pid, c.Group))
	}
	sort.Strings(list)
	return strings.Join(list, "\n")
}

// listing is everything a site could leave: processes, links, routes, rules,
// mounts, cgroups, namespaces.
func (m *machine) listing() string {
	m.t.Helper()
	var b strings.Builder
	for _, c := range [][]string{{"ip", "-brief", "link"}, {"ip", "route"}, {"ip", "rule"}, {"nft", "list", "ruleset"}} {
		out, err := m.host.Run(c[0], c[1:]...)
		if err != nil {
			m.t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s\n%s", strings.Join(c, " "), out)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, m.lab.Dir) {
			fmt.Fprintln(&b, "mount", line)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/oakestra/solo*")
	runs, _ := filepath.Glob("/run/oakestra/*/c.sock")
	processes := m.lab.Processes()
	sort.Strings(processes)
	fmt.Fprintf(&b, "cgroups %v\nsockets %d\nprocesses %v\n", groups, len(runs), processes)
	return b.String()
}
