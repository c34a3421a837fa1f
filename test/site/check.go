package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	managed "oakestra/node/runtime/containerd"
)

// Kept is a container as a worker's containerd has it.
type Kept struct {
	ID      string
	Labels  map[string]string // oakestra.service, .instance, .grant, .try
	Running bool
	Pid     int
}

// Kept lists what the containerd of a worker holds: containers with their
// labels, and the names of snapshots of containers.
func (s *Site) Kept(w string) (containers []Kept, snaps []string, err error) {
	client, err := containerd.New(s.containerd(w).Socket(), containerd.WithTimeout(5*time.Second))
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), managed.Namespace), 10*time.Second)
	defer cancel()
	made, err := client.ContainerService().List(ctx)
	if err != nil {
		return nil, nil, err
	}
	running, err := client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, nil, err
	}
	for _, m := range made {
		k := Kept{ID: m.ID, Labels: m.Labels}
		for _, t := range running.Tasks {
			if t.ID == m.ID {
				k.Running, k.Pid = t.Status.String() == "RUNNING", int(t.Pid)
			}
		}
		containers = append(containers, k)
	}
	for _, name := range []string{"overlayfs", "native"} {
		err := client.SnapshotService(name).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
			if i.Kind == snapshots.KindActive {
				snaps = append(snaps, i.Name)
			}
			return nil
		})
		if err != nil && name == "overlayfs" {
			return nil, nil, err
		}
	}
	return containers, snaps, nil
}

// Live lists the live containers of the workers that have power, by worker
// and, within, by id. A container is live while a process is in its cgroup.
func (s *Site) Live() map[string]map[string]Container {
	live := map[string]map[string]Container{}
	for _, w := range s.Workers() {
		if s.off[w] {
			continue
		}
		live[w] = map[string]Container{}
		for _, c := range ContainersOf(w) {
			if _, ok := live[w][c.ID()]; !ok {
				live[w][c.ID()] = c
			}
		}
	}
	return live
}

// Check compares what the API says with the containers that really live, and
// with what they leave on their machines. It holds once the system has
// settled: ask again (Settled) after a fault. Every break is in the error.
//
//	I1  every wanted instance has one live container, and nobody else has one;
//	    no two live containers share instance and epoch
//	I2  the API names the container's worker, once
//	I5  the links of a worker's bridge are as many as its containers
//	I8  so are its shims, cgroups, containerd's containers and snapshots, and
//	    the files that containers are given
//
// Workers without power are left out.
func (s *Site) Check() error {
	live := s.Live()
	errs := []error{s.checkRecords(live)}
	for _, w := range s.Workers() {
		if !s.off[w] {
			errs = append(errs, s.checkWorker(w, live[w]))
		}
	}
	return errors.Join(errs...)
}

// Settled waits until Check holds.
func (s *Site) Settled(within time.Duration) {
	s.T.Helper()
	s.Eventually("the containers are those of the API", within, s.Check)
}

// none are words of instances that have no container, and that is right.
var none = []string{"COMPLETED", "NO_WORKER_CAPACITY", "NO_QUALIFIED_WORKER_FOUND", "NO_NODE_FOUND",
	"TargetClusterNotFound", "TargetClusterNotActive", "TargetClusterNoCapacity", "NoActiveClusterWithCapacity"}

// checkRecords is I1 and I2.
func (s *Site) checkRecords(live map[string]map[string]Container) error {
	var services []Service
	if err := s.Get("/api/services/", &services); err != nil {
		return err
	}
	nodes, err := s.Nodes()
	if err != nil {
		return err
	}
	bad := breaks{}
	where, runs := map[string][]string{}, map[string]string{} // instance -> workers; attempt -> worker
	for w, list := range live {
		for id, c := range list {
			service, number, _, _ := c.Attempt()
			key := fmt.Sprintf("%s/%d", service, number)
			where[key] = append(where[key], w)
			if other := runs[id]; other != "" {
				bad.add("I1: attempt %s lives on %s and on %s", id, other, w)
			}
			runs[id] = w
		}
	}
	for _, svc := range services {
		for _, i := range svc.Instances {
			key := fmt.Sprintf("%s/%d", svc.ID, i.Number)
			at := where[key]
			delete(where, key)
			name := fmt.Sprintf("%s instance %d (%s, %s)", svc.Name, i.Number, svc.ID, i.Status)
			switch {
			case s.off[i.Worker]:
			case slices.Contains(none, i.Status):
				if len(at) != 0 {
					bad.add("I1: %s lives on %v", name, at)
				}
			case i.Status != "RUNNING":
				bad.add("I1: %s has not settled: %s", name, i.Detail)
			case len(at) != 1 || at[0] != i.Worker:
				bad.add("I1, I2: %s on %s lives on %v", name, i.Worker, at)
			default:
				if n := named(nodes, svc.ID, i.Number); !slices.Equal(n, []string{i.Worker}) {
					bad.add("I2: %s on %s is listed by nodes %v", name, i.Worker, n)
				}
			}
		}
	}
	for key, at := range where {
		bad.add("I1: %s lives on %v and is wanted by nobody", key, at)
	}
	return bad.err()
}

// named are the nodes in whose list an instance is.
func named(nodes map[string]Node, service string, number int) []string {
	var list []string
	for _, n := range nodes {
		for _, i := range n.Instances {
			if i.Service == service && i.Number == number {
				list = append(list, n.ID)
			}
		}
	}
	return list
}

// checkWorker is I5 and I8.
func (s *Site) checkWorker(w string, live map[string]Container) error {
	want := make([]string, 0, len(live))
	for id := range live {
		want = append(want, id)
	}
	bad := breaks{}
	ports, err := s.Lab.Host(w).Bridged("oakbr0")
	if err != nil {
		return err
	}
	if ports = slices.DeleteFunc(ports, func(n string) bool { return n == "oakvx0" }); len(ports) != len(want) {
		bad.add("I5: %s has %d links on its bridge for %d containers: %v", w, len(ports), len(want), ports)
	}
	containers, snaps, err := s.Kept(w)
	if err != nil {
		return errors.Join(bad.err(), fmt.Errorf("containerd of %s: %w", w, err))
	}
	var kept, shims []string
	for _, k := range containers {
		kept = append(kept, k.ID)
		if c, ok := live[k.ID]; ok {
			service, number, grant, try := c.Attempt()
			labels := map[string]string{"service": service, "instance": strconv.Itoa(number), "grant": strconv.FormatUint(grant, 16), "try": strconv.FormatUint(try, 10)}
			for name, value := range labels {
				if k.Labels["oakestra."+name] != value {
					bad.add("I1: label oakestra.%s of %s on %s is %q, want %q", name, k.ID, w, k.Labels["oakestra."+name], value)
				}
			}
		}
	}
	for id := range s.Shims(w) {
		shims = append(shims, id)
	}
	for what, have := range map[string][]string{
		"containers in containerd": kept, "shims": shims, "cgroups": groups(w), "snapshots": snaps, "directories of files": below(s.Lab.Path(w, "node", "files")),
	} {
		if extra, lack := difference(have, want); len(extra)+len(lack) > 0 {
			bad.add("I8: %s of %s: %v too many, %v are missing", what, w, extra, lack)
		}
	}
	return bad.err()
}

// groups are the containers that have a cgroup, empty or not.
func groups(w string) []string {
	var list []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		roots, _ := filepath.Glob(pattern + managed.CgroupParent(w)) // the pattern is right
		for _, r := range roots {
			list = append(list, below(r)...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// below are the names of the directories in a directory.
func below(dir string) []string {
	entries, _ := os.ReadDir(dir) // none without it
	var list []string
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, e.Name())
		}
	}
	return list
}

func difference(have, want []string) (extra, lack []string) {
	for _, h := range have {
		if !slices.Contains(want, h) {
			extra = append(extra, h)
		}
	}
	for _, w := range want {
		if !slices.Contains(have, w) {
			lack = append(lack, w)
		}
	}
	return extra, lack
}

// breaks collects what does not hold.
type breaks []string

func (b *breaks) add(format string, args ...any) { *b = append(*b, fmt.Sprintf(format, args...)) }

func (b *breaks) err() error {
	if len(*b) == 0 {
		return nil
	}
	slices.Sort(*b)
	return errors.New("\n  " + strings.Join(*b, "\n  "))
}
