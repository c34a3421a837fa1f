package site

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	managed "oakestra/node/runtime/containerd"
	"oakestra/test/netlab"
)

// StartRoot runs the root on its machine.
func (s *Site) StartRoot() {
	s.Root = s.Lab.Host("root").Start(s.top, netlab.Program{Path: s.Program("system-manager"),
		Args: []string{"-data", s.Lab.Path("root")}})
}

func (s *Site) startManager(c Cluster) { s.Managers[c.Name] = s.StartManager(c, c.Name) }

// StartManager runs one more cluster-manager, with its book under a name of
// its own, so that two can be started for one cluster. New starts those of the
// Config.
func (s *Site) StartManager(c Cluster, book string) *netlab.Process {
	return s.Lab.Host(c.Host).Start(s.top, netlab.Program{Name: "cluster-manager-" + book, Path: s.Program("cluster-manager"),
		Args: append([]string{"-data", s.Lab.Path("cluster-" + book),
			"-listen", fmt.Sprintf(":%d", cmp.Or(c.Port, 10100)), "-mqtt-listen", fmt.Sprintf(":%d", cmp.Or(c.MQTT, 10003))}, c.Args...),
		Env: []string{"SYSTEM_MANAGER_URL= http://" + s.Lab.Host("root").Addr + " ", "CLUSTER_NAME=" + c.Name,
			"CLUSTER_LOCATION=" + cmp.Or(c.Location, "48.1,11.5,1000")}})
}

// AddWorker makes a spare machine a worker of a cluster.
func (s *Site) AddWorker(cluster, machine string) {
	clusters := slices.Clone(s.cfg.Clusters)
	for i, c := range clusters {
		if c.Name == cluster {
			clusters[i].Workers = append(slices.Clone(c.Workers), machine)
		}
	}
	s.cfg.Clusters = clusters
	s.cfg.Spare = slices.DeleteFunc(slices.Clone(s.cfg.Spare), func(m string) bool { return m == machine })
	s.startWorker(machine)
}

// startWorker runs the two agents as the README says, with a private containerd.
func (s *Site) startWorker(w string) {
	c, h := s.Of(w), s.Lab.Host(w)
	s.Network[w] = h.Start(s.top, s.booted(w, netlab.Program{Path: s.Program("NetManager"),
		Args: []string{"-p", "6000", "-data", s.Lab.Path(w, "net")}}))
	s.Engine[w] = h.Start(s.top, s.booted(w, netlab.Program{Path: s.Program("NodeEngine"),
		Args: []string{"-a", s.Lab.Host(c.Host).Addr, "-p", strconv.Itoa(cmp.Or(c.Port, 10100)), "-n", "6000", "-vcpus", "8", "-name", w,
			"-data", s.Lab.Path(w, "node"), "-containerd", "managed", "-registries", s.registries}}))
}

// booted makes a program see the boot id of its worker: all share one kernel,
// and a worker that was powered on again must not see the id of before.
func (s *Site) booted(w string, p netlab.Program) netlab.Program {
	if s.boots[w] == 0 {
		return p
	}
	file := s.Lab.Path(fmt.Sprintf("boot-%s-%d", w, s.boots[w]))
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d\n", s.boots[w])
	if err := os.WriteFile(file, []byte(id), 0o644); err != nil {
		s.T.Fatal(err)
	}
	p.Name = filepath.Base(p.Path)
	p.Args = append([]string{"-m", "sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, file, p.Path}, p.Args...)
	p.Path = "unshare"
	return p
}

// PowerOff pulls the plug of a worker: all its processes, shims and containers
// included, end at once, and its links, rules, mounts and /run are gone. What
// it has on disk stays.
func (s *Site) PowerOff(w string) {
	s.T.Helper()
	s.Engine[w].Expect()
	s.Network[w].Expect()
	s.off[w] = true
	err := s.Lab.Host(w).PowerOff()
	for _, c := range ContainersOf(w) { // one whose shim went first belongs to nobody
		_ = syscall.Kill(c.Pid, syscall.SIGKILL)
	}
	run := filepath.Dir(s.containerd(w).Socket())
	err = errors.Join(err, netlab.UnmountBelow(s.Lab.Path(w)), netlab.UnmountBelow(run))
	if err = errors.Join(err, os.RemoveAll(run), managed.RemoveCgroups(w)); err != nil {
		s.T.Fatalf("power off %s: %v", w, err)
	}
}

// PowerOn boots a worker that PowerOff took away; its agents start as its
// units would.
func (s *Site) PowerOn(w string) {
	s.T.Helper()
	if err := s.Lab.Host(w).PowerOn(); err != nil {
		s.T.Fatalf("power on %s: %v", w, err)
	}
	s.boots[w]++
	delete(s.off, w)
	s.startWorker(w)
}

// Cut takes a machine's link to all others away.
func (s *Site) Cut(machine string) {
	s.T.Helper()
	if err := s.Lab.Host(machine).Down(); err != nil {
		s.T.Fatal(err)
	}
}

// Heal gives it back.
func (s *Site) Heal(machine string) {
	s.T.Helper()
	if err := s.Lab.Host(machine).Up(); err != nil {
		s.T.Fatal(err)
	}
}

func (s *Site) containerd(w string) managed.Managed {
	return managed.Managed{Data: s.Lab.Path(w, "node")}
}

// Shims are the shims of a worker's containers: process ids by container id.
func (s *Site) Shims(w string) map[string]int {
	shims := map[string]int{}
	for _, p := range processes("containerd-shim", s.containerd(w).Socket()) {
		for i, arg := range p.args {
			if arg == "-id" && i+1 < len(p.args) {
				shims[p.args[i+1]] = p.pid
			}
		}
	}
	return shims
}

type process struct {
	pid  int
	args []string
}

// processes lists those whose program's name begins with name and one of whose
// arguments is arg.
func processes(name, arg string) []process {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	var list []process
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), name) || !slices.Contains(args[1:], arg) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			list = append(list, process{pid, args})
		}
	}
	return list
}
