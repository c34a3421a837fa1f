package site

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/testkit"
	"oakestra/test/netlab"
)

// Config says what to start. The zero Config is Default.
type Config struct {
	Clusters []Cluster
	Spare    []string // machines on which nothing runs yet
}

// Cluster is one cluster-manager with its workers. Names of machines and
// workers are short: they are names of links, too.
type Cluster struct {
	Name string
	// Host is its machine; several clusters may share one, and then differ in
	// their ports.
	Host     string
	Port     int      // HTTP for workers; 0 = 10100
	MQTT     int      // of its broker; 0 = 10003
	Location string   // "" = 48.1,11.5,1000
	Args     []string // more flags of the cluster-manager
	// Workers are machines, with NodeEngine, NetManager and a containerd each,
	// that register under these names.
	Workers []string
}

// Default is one cluster with two workers.
func Default() Config {
	return Config{Clusters: []Cluster{{Name: "field", Host: "site", Workers: []string{"w1", "w2"}}}}
}

// Site is a running system: root, clusters, workers, a registry on the root's
// machine, and a machine "outside" that is the user.
type Site struct {
	T        testing.TB // of the running step; failures go there
	Lab      *netlab.Lab
	Token    string
	Root     *netlab.Process
	Cluster  *netlab.Process            // the manager of the first cluster
	Managers map[string]*netlab.Process // by cluster
	Engine   map[string]*netlab.Process // by worker
	Network  map[string]*netlab.Process // by worker

	top        testing.TB // of the whole site; its processes report to it
	cfg        Config
	bin        string
	registries string
	boots      map[string]int  // how often a worker was powered on again
	off        map[string]bool // workers without power
}

// Binaries builds the programs, or takes them from OAK_BIN, and returns their
// directory.
func Binaries(t testing.TB) string {
	t.Helper()
	testkit.RequireRoot(t, "containerd", "runc", "iptables", "ip", "nsenter", "curl", "nft", "conntrack")
	if dir := os.Getenv("OAK_BIN"); dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("/tmp", "oaklab-bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/system-manager", "./cmd/cluster-manager",
		"./cmd/NodeEngine", "./cmd/NetManager", "./cmd/oak", "./test/images/demo-registry")
	if go_ := os.Getenv("GO"); go_ != "" {
		cmd.Path, cmd.Err = go_, nil
	}
	cmd.Dir = repository(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Start brings the default site up and waits until its workers take instances.
func Start(t testing.TB) *Site {
	t.Helper()
	return New(t, Config{})
}

// New brings a site up and waits until all its workers, with their overlay,
// are listed.
func New(t testing.TB, cfg Config) *Site {
	t.Helper()
	if len(cfg.Clusters) == 0 {
		cfg = Default()
	}
	s := &Site{T: t, top: t, cfg: cfg, bin: Binaries(t), Managers: map[string]*netlab.Process{},
		Engine: map[string]*netlab.Process{}, Network: map[string]*netlab.Process{},
		boots: map[string]int{}, off: map[string]bool{}}
	s.Lab = netlab.New(t, netlab.Config{Hosts: s.machines()})
	t.Cleanup(s.purge)
	s.registries = Registry(t, s.Lab, s.bin, "root")
	s.StartRoot()
	for _, c := range cfg.Clusters {
		s.startManager(c)
		for _, w := range c.Workers {
			s.startWorker(w)
		}
	}
	s.Cluster = s.Managers[cfg.Clusters[0].Name]
	s.Login()
	s.WaitWorkers(60*time.Second, s.Workers()...)
	return s
}

// machines are the hosts of the lab.
func (s *Site) machines() []string {
	list := []string{"root"}
	for _, c := range s.cfg.Clusters {
		if !slices.Contains(list, c.Host) {
			list = append(list, c.Host)
		}
	}
	return slices.Concat(list, s.Workers(), s.cfg.Spare, []string{"outside"})
}

// Workers are the names of all workers, cluster by cluster.
func (s *Site) Workers() []string {
	var list []string
	for _, c := range s.cfg.Clusters {
		list = append(list, c.Workers...)
	}
	return list
}

// Of is the cluster of a worker; an unknown name panics, it is a typing error.
func (s *Site) Of(worker string) Cluster {
	for _, c := range s.cfg.Clusters {
		if slices.Contains(c.Workers, worker) {
			return c
		}
	}
	panic("site: no worker " + worker)
}

// WaitWorkers waits until workers are listed as alive, with their overlay.
func (s *Site) WaitWorkers(within time.Duration, workers ...string) {
	s.T.Helper()
	s.Eventually(fmt.Sprintf("workers %v are listed with their overlay", workers), within, func() error {
		nodes, err := s.Nodes()
		if err != nil {
			return err
		}
		for _, w := range workers {
			if n := nodes[w]; n.Subnet == "" || !n.Network || !strings.EqualFold(n.Status, "alive") {
				return fmt.Errorf("%s is %+v", w, n)
			}
		}
		return nil
	})
}

// Program is the path of one of the built programs.
func (s *Site) Program(name string) string { return filepath.Join(s.bin, name) }

// Registry serves the quick start's images on a host of the lab and returns a
// file of registry mirrors that leads there.
func Registry(t testing.TB, lab *netlab.Lab, bin, host string) (file string) {
	t.Helper()
	program, ready := filepath.Join(bin, "demo-registry"), lab.Path("registry-ready")
	addr := lab.Host(host).Addr + ":5555"
	// Packages are fetched by the machine itself: the lab has no way out.
	cache := filepath.Join(repository(t), "build", "images")
	warm := exec.Command(program, "-listen", "127.0.0.1:0", "-cache", cache, "-ready", ready)
	if err := warm.Start(); err != nil {
		t.Fatal(err)
	}
	exists := func() error { _, err := os.Stat(ready); return err }
	eventually(t, "the images are built", 4*time.Minute, exists)
	_ = warm.Process.Kill()
	_ = warm.Wait()
	_ = os.Remove(ready)
	registry := lab.Host(host).Start(t, netlab.Program{Path: program, Args: []string{"-listen", addr, "-cache", cache, "-ready", ready}})
	t.Cleanup(registry.Stop)
	eventually(t, "the registry serves", time.Minute, exists)
	file = lab.Path("registries.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"registries":{"docker.io":{"mirrors":["http://%s"]}}}`, addr), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// purge removes what the workers made, with the programs' own commands, before
// the lab sweeps the rest.
func (s *Site) purge() {
	for _, w := range s.Workers() {
		if s.Engine[w] == nil || s.off[w] {
			continue
		}
		s.Engine[w].Stop()
		s.Network[w].Stop()
		h := s.Lab.Host(w)
		if out, err := h.Run(s.Program("NodeEngine"), "purge", "-data", s.Lab.Path(w, "node"), "-containerd", "managed"); err != nil {
			s.T.Errorf("purge: %v %s", err, out)
		}
		if out, err := h.Run(s.Program("NetManager"), "purge", "-data", s.Lab.Path(w, "net")); err != nil {
			s.T.Errorf("purge: %v %s", err, out)
		}
		s.assertNothingLeft(w)
	}
	for _, m := range s.Managers {
		m.Stop()
	}
	if s.Root != nil {
		s.Root.Stop()
	}
}

// assertNothingLeft looks for links, rules and mounts after a purge.
func (s *Site) assertNothingLeft(w string) {
	h := s.Lab.Host(w)
	links, _ := h.Run("ip", "-brief", "link")
	if strings.Contains(links, "oak") || strings.Contains(links, "veth") {
		s.T.Errorf("%s: links are left:\n%s", w, links)
	}
	for _, list := range [][]string{{"iptables-save"}, {"nft", "list", "tables"}} {
		out, err := h.Run(list[0], list[1:]...)
		if err == nil && strings.Contains(strings.ToLower(out), "oak") {
			s.T.Errorf("%s: %s still has:\n%s", w, strings.Join(list, " "), out)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), s.Lab.Path(w)+"/") {
		s.T.Errorf("%s: mounts are left below %s", w, s.Lab.Path(w))
	}
}

// Eventually repeats a check until it holds, or fails with its last error.
func (s *Site) Eventually(what string, within time.Duration, check func() error) {
	s.T.Helper()
	eventually(s.T, what, within, check)
}

func eventually(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %s: %v", within, what, err)
}
