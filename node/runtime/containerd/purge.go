package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"oakestra/node/runtime"
)

// cgroupPatience bounds the wait for killed processes to leave a group.
const cgroupPatience = 5 * time.Second

// Purge removes every container of the namespace, its images, cgroups, files
// and logs. It goes on after a failure and returns all of them.
func (e *Engine) Purge(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	made, err := e.client.Containers(ctx)
	if err != nil {
		return classed("list containers", err)
	}
	var all []error
	nodes := map[string]bool{}
	for _, c := range made {
		if info, err := c.Info(ctx); err == nil {
			if s, err := assignment(info); err == nil {
				nodes[s.Node] = true
			}
		}
		all = append(all, e.Remove(ctx, c.ID(), true))
	}
	list, err := e.client.ImageService().List(ctx)
	all = append(all, err)
	for _, i := range list {
		all = append(all, e.client.ImageService().Delete(ctx, i.Name, images.SynchronousDelete()))
	}
	for n := range nodes {
		all = append(all, RemoveCgroups(n))
	}
	for _, d := range []string{e.logDir(), filepath.Join(e.cfg.Data, "files")} {
		all = append(all, os.RemoveAll(d))
	}
	return errors.Join(all...)
}

// RemoveCgroups removes the groups of a node and their parent, in every
// hierarchy. What is left in them is killed: a task whose creation was cut off
// in the middle is known to nobody, but its first process is there.
func RemoveCgroups(node string) error {
	if node == "" {
		return nil
	}
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, err := filepath.Glob(pattern + CgroupParent(node))
		if err != nil {
			return err
		}
		for _, root := range found {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(dirs)))
	var all []error
	for _, d := range dirs {
		if err := removeCgroup(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
		if filepath.Base(filepath.Dir(d)) == "oakestra" {
			_ = os.Remove(filepath.Dir(d)) // fails while another node has groups
		}
	}
	return errors.Join(all...)
}

// Find returns the running container of a service's instance, by job name or
// service id; of several attempts the newest.
func (e *Engine) Find(ctx context.Context, service string, number int) (runtime.Container, bool, error) {
	list, err := e.List(ctx)
	if err != nil {
		return runtime.Container{}, false, err
	}
	var best runtime.Container
	found := false
	for _, c := range list {
		if c.Phase != runtime.Running || c.Spec.Number != number || (c.Spec.JobName != service && string(c.Spec.Service) != service) {
			continue
		}
		if !found || best.Spec.Attempt().Epoch.Less(c.Spec.Attempt().Epoch) {
			best, found = c, true
		}
	}
	return best, found, nil
}

// removeCgroup kills what is in a group and removes it once the kernel has
// seen the last process end.
func removeCgroup(dir string) error {
	deadline := time.Now().Add(cgroupPatience)
	for {
		err := os.Remove(dir)
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		list, readErr := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		for _, field := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}
