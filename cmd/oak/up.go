package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/supervise"
)

// site is one machine's root, cluster and worker, all below one directory.
type site struct {
	State      string `json:"state"`
	Registries string `json:"registries,omitempty"`
	Containerd string `json:"containerd"`
	Cluster    string `json:"cluster"`
	Location   string `json:"location"`
	Node       string `json:"node,omitempty"`
	VCPUs      int    `json:"vcpus,omitempty"`
}

const startTimeout = 90 * time.Second

func upCommand(a *app) *cobra.Command {
	var s site
	var detach, background bool
	cmd := &cobra.Command{
		Use: "up", Short: "run root, cluster and worker on this machine", Args: cobra.NoArgs,
		Long: `Starts system-manager, cluster-manager, NetManager and NodeEngine (they lie beside
oak) and keeps them running, with everything they store below --state. Ctrl-C
stops the four; what they run goes on and is adopted by the next "oak up".
"oak down" removes everything.`,
		Example: "  sudo oak up -d\n  sudo oak up --cluster kitchen --location 48.15,11.58,1000",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("a worker makes containers and networks, which needs root; run: sudo oak up")
			}
			var err error
			if s.State, err = filepath.Abs(s.State); err != nil {
				return err
			}
			if s.Registries != "" {
				if s.Registries, err = filepath.Abs(s.Registries); err != nil {
					return err
				}
			}
			return a.up(cmd.Context(), s, detach, background)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", "/var/lib/oakestra", "directory for everything stored")
	f.BoolVarP(&detach, "detach", "d", false, "return once everything runs")
	f.BoolVar(&background, "background", false, "")
	_ = f.MarkHidden("background")
	f.StringVar(&s.Registries, "registries", "", "NodeEngine's file of registry mirrors (default /etc/oakestra/registries.json)")
	f.StringVar(&s.Containerd, "containerd", "auto", "auto, managed or the socket of a running containerd")
	f.StringVar(&s.Cluster, "cluster", "local", "name of the cluster")
	f.StringVar(&s.Location, "location", "local", "where it is: lat,lon,radius (degrees, degrees, metres) or free text")
	f.StringVar(&s.Node, "node", "", "name of the worker (default: the host name)")
	f.IntVar(&s.VCPUs, "vcpus", 0, "vcpus the worker offers (default: what it has)")
	return cmd
}

func (a *app) up(ctx context.Context, s site, detach, background bool) error {
	started := time.Now()
	if p, err := supervise.Load(s.pidFile()); err == nil {
		a.say("already running (pid %d)", p.Pid)
		if err := a.waitSite(ctx, s, nil); err != nil {
			return err
		}
		return a.greet(s, started)
	}
	if wrong := model.LocationProblem(s.Location); wrong != "" {
		return errs.Problems{{Path: "--location", Value: strconv.Quote(s.Location), Message: wrong}}
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if background {
		return s.supervise(ctx)
	}
	if !detach {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.supervise(ctx) }()
		if err := a.waitSite(ctx, s, ended); err != nil {
			cancel()
			return errors.Join(err, <-ended)
		}
		if err := a.greet(s, started); err != nil {
			return err
		}
		a.say("Ctrl-C stops the daemons and leaves the workloads running.")
		return <-ended
	}
	ended, err := s.background(a.root)
	if err != nil {
		return err
	}
	if err := a.waitSite(ctx, s, ended); err != nil {
		return err
	}
	return a.greet(s, started)
}

func (s site) pidFile() string         { return filepath.Join(s.State, "oak.pid") }
func (s site) dir(name string) string  { return filepath.Join(s.State, name) }
func (s site) log(child string) string { return filepath.Join(s.State, "logs", child+".log") }

// prepare makes the directories and refuses a machine whose ports are taken.
func (s site) prepare() error {
	var taken []string
	for _, p := range []struct {
		address, use string
	}{{":10000", "root"}, {":10100", "cluster manager"}, {":10003", "MQTT"}, {"127.0.0.1:6000", "NetManager"}} {
		ln, err := net.Listen("tcp", p.address)
		if err != nil {
			taken = append(taken, fmt.Sprintf("%s (%s): %v", p.address, p.use, err))
			continue
		}
		_ = ln.Close()
	}
	if len(taken) > 0 {
		return fmt.Errorf("ports are not free:\n  %s\nsee who holds them: ss -ltnp", strings.Join(taken, "\n  "))
	}
	for _, d := range []string{"root", "cluster", "node", "net", "logs"} {
		if err := os.MkdirAll(s.dir(d), 0o700); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.dir("site.json"), append(data, '\n'), 0o600)
}

// background starts this program again in a session of its own, which
// supervises. The channel delivers how it ended, should it end early.
func (s site) background(root string) (<-chan error, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(s.log("oak"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	args := []string{"up", "--background", "--root", root, "--state", s.State, "--containerd", s.Containerd,
		"--cluster", s.Cluster, "--location", s.Location, fmt.Sprintf("--vcpus=%d", s.VCPUs)}
	if s.Registries != "" {
		args = append(args, "--registries", s.Registries)
	}
	if s.Node != "" {
		args = append(args, "--node", s.Node)
	}
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("it was stopped")
		}
		ended <- fmt.Errorf("the supervisor ended: %w\n%s", err, tail(s.log("oak"), 5))
	}()
	return ended, nil
}

// supervise runs the four daemons until ctx ends.
func (s site) supervise(ctx context.Context) error {
	self, err := supervise.Find(os.Getpid())
	if err != nil {
		return err
	}
	if err := self.Save(s.pidFile()); err != nil {
		return err
	}
	defer os.Remove(s.pidFile())
	out, err := os.OpenFile(s.log("oak"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	return supervise.Run(ctx, slog.New(slog.NewTextHandler(out, nil)), s.children(), supervise.Options{})
}

// children are the four daemons in the order they need one another.
func (s site) children() []supervise.Child {
	node := []string{"-a", "localhost", "-p", "10100", "-n", "6000", "-data", s.dir("node"), "-containerd", s.Containerd}
	if s.Registries != "" {
		node = append(node, "-registries", s.Registries)
	}
	if s.Node != "" {
		node = append(node, "-name", s.Node)
	}
	if s.VCPUs != 0 {
		node = append(node, "-vcpus", fmt.Sprint(s.VCPUs))
	}
	return []supervise.Child{
		s.child("system-manager", ready("http://127.0.0.1:10000/readyz"), "-data", s.dir("root")),
		s.child("cluster-manager", ready("http://127.0.0.1:10100/readyz"),
			"-root", "localhost", "-name", s.Cluster, "-location", s.Location, "-data", s.dir("cluster")),
		s.child("NetManager", ready("http://127.0.0.1:6000/healthz"), "-p", "6000", "-data", s.dir("net")),
		s.child("NodeEngine", nil, node...),
	}
}

func (s site) child(name string, ready func(context.Context) error, args ...string) supervise.Child {
	return supervise.Child{Name: name, Path: program(name), Args: args, Log: s.log(name),
		Pid: s.dir(name + ".pid"), Ready: ready}
}

// program is the daemon beside oak, or, where it is not there, of the PATH.
func program(name string) string {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return name
}

// ready waits until the address answers 200, at most 30 s: the next child
// copes with a late one, so this only keeps the start quiet.
func ready(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		return poll(ctx, func() error { return get(ctx, address, nil) })
	}
}

func poll(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, address string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// clusterStatus is GET :10100/api/cluster/status.
type clusterStatus struct {
	Name      string `json:"cluster_name"`
	Connected bool   `json:"connected_to_root"`
	Nodes     int    `json:"active_nodes"`
	Networked int    `json:"network_nodes"`
}

// waitSite follows the start and prints one line per step. ended delivers the
// end of the supervisor, which must not come.
func (a *app) waitSite(ctx context.Context, s site, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var status clusterStatus
	cluster := func() error { return get(ctx, "http://127.0.0.1:10100/api/cluster/status", &status) }
	steps := []struct {
		what, child string
		check       func() error
	}{
		{"root answers on port 10000", "system-manager", func() error { return get(ctx, "http://127.0.0.1:10000/readyz", nil) }},
		{"cluster manager joined the root", "cluster-manager", func() error {
			if err := cluster(); err != nil {
				return err
			}
			return unless(status.Connected, "the cluster manager is not connected to the root")
		}},
		{"network manager answers on port 6000", "NetManager", func() error { return get(ctx, "http://127.0.0.1:6000/healthz", nil) }},
		{"worker registered, containerd answers", "NodeEngine", func() error {
			if err := cluster(); err != nil {
				return err
			}
			return unless(status.Nodes > 0, "no worker has registered")
		}},
		{"overlay is up", "NetManager", func() error {
			if err := cluster(); err != nil {
				return err
			}
			return unless(status.Networked > 0, "the worker's NetManager has not reported")
		}},
	}
	for _, step := range steps {
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- poll(ctx, step.check) }()
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: not within %s: %w\nthe end of %s:\n%s", step.what, startTimeout, err, s.log(step.child), tail(s.log(step.child), 10))
			}
			a.say("  %-40s %4d ms", step.what, time.Since(begin).Milliseconds())
		case err := <-ended:
			if err == nil {
				err = errors.New("interrupted")
			}
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func unless(ok bool, message string) error {
	if ok {
		return nil
	}
	return errors.New(message)
}

// tail is the end of a log, for people who must find out why.
func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "  " + strings.Join(all, "\n  ")
}

func (a *app) greet(s site, started time.Time) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(map[string]string{"api": "http://localhost:10000", "docs": "http://localhost:10000/api/docs", "state": s.State})
	}
	a.say(`
Oakestra is up after %.1f s.
  API       http://localhost:10000        login Admin / Admin on a fresh install
  API docs  http://localhost:10000/api/docs
  logs      %s

Next:
  oak deploy deploy/deploy_curl_application.json --wait
  oak services
  sudo oak down`, time.Since(started).Seconds(), s.dir("logs"))
	return nil
}
