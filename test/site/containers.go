package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"oakestra/test/netlab"
)

// Container is a running container of ours on a worker.
type Container struct {
	Pid    int
	Worker string
	Group  string // its cgroup path, which holds node and attempt
}

// ID is the container's id, "<service>-<number>-<grant in hex>-<try>": an
// instance with its epoch.
func (c Container) ID() string {
	_, id, _ := strings.Cut(c.Group, "/")
	id, _, _ = strings.Cut(id, "/")
	return id
}

// Attempt takes the id apart. It panics on one that NodeEngine cannot make.
func (c Container) Attempt() (service string, number int, grant, try uint64) {
	p := strings.Split(c.ID(), "-")
	if len(p) != 4 {
		panic("site: no id of a container: " + c.ID())
	}
	number, err1 := strconv.Atoi(p[1])
	grant, err2 := strconv.ParseUint(p[2], 16, 64)
	try, err3 := strconv.ParseUint(p[3], 10, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(fmt.Sprintf("site: no id of a container: %s: %v", c.ID(), err))
	}
	return p[0], number, grant, try
}

// Dial connects from inside the container; the address must be an IP and a port.
func (c Container) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return netlab.DialIn(ctx, fmt.Sprintf("/proc/%d/ns/net", c.Pid), network, address)
}

// ErrGone says that no such container runs.
var ErrGone = errors.New("no such container")

// Containers lists the first process of every container of the site.
func (s *Site) Containers() []Container { return ContainersOf(s.Workers()...) }

// ContainersOf lists the first process of every container of some workers, by
// their cgroups. A process that moved to a nested group is not listed twice.
func ContainersOf(workers ...string) []Container {
	entries, _ := os.ReadDir("/proc")
	seen := map[string]bool{}
	var list []Container
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cgroup")
		if err != nil {
			continue // it has ended
		}
		for _, line := range strings.Split(string(data), "\n") {
			_, path, ok := strings.Cut(line, "/oakestra/")
			if !ok || strings.HasSuffix(path, " (deleted)") { // of a process that has ended and was not waited for
				continue
			}
			worker, _, _ := strings.Cut(path, "/")
			if !seen[path] && slices.Contains(workers, worker) {
				seen[path] = true
				list = append(list, Container{Pid: pid, Worker: worker, Group: path})
			}
			break
		}
	}
	return list
}

// Container finds the container of a service's instance.
func (s *Site) Container(serviceID string, number int) (Container, error) {
	for _, c := range s.Containers() {
		if strings.Contains(c.Group, fmt.Sprintf("%s-%d-", serviceID, number)) {
			return c, nil
		}
	}
	return Container{}, fmt.Errorf("%s/%d: %w", serviceID, number, ErrGone)
}

// Inside runs a program of the container's image inside the container.
func (s *Site) Inside(c Container, args ...string) *exec.Cmd {
	all := append([]string{"-t", strconv.Itoa(c.Pid), "-m", "-n", "-p", "-u", "-r", "--"}, args...)
	return exec.Command("nsenter", all...)
}
