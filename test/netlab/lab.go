package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Config declares a lab.
type Config struct {
	// Hosts get the addresses 10.99.0.1, .2, ... in order.
	Hosts []string
	// Dir takes state and logs of all programs; "" makes a short temporary one
	// (unix sockets allow 104 bytes).
	Dir string
}

// Lab is a running set of hosts.
type Lab struct {
	Dir    string
	prefix string
	hosts  map[string]*Host
}

// Host is one machine of a lab.
type Host struct {
	Name  string
	Addr  string // address on the switch
	lab   *Lab
	netns string
}

// New builds the hosts and registers Close with t. It fails the test when the
// machine cannot do it.
func New(t testing.TB, c Config) *Lab {
	t.Helper()
	sweep(t)
	l := &Lab{Dir: c.Dir, prefix: fmt.Sprintf("%s%d-", namePrefix, os.Getpid()), hosts: map[string]*Host{}}
	if l.Dir == "" {
		dir, err := os.MkdirTemp("/tmp", dirPrefix)
		if err != nil {
			t.Fatal(err)
		}
		l.Dir = dir
	}
	t.Cleanup(func() {
		if err := l.Close(!t.Failed()); err != nil {
			t.Errorf("clean up: %v", err)
		}
		if t.Failed() {
			t.Logf("logs and state are kept in %s", l.Dir)
		}
	})
	if err := l.build(c); err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	return l
}

const (
	namePrefix = "oaklab"
	dirPrefix  = "oaklab"
	switchName = "switch"
)

func (l *Lab) build(c Config) error {
	steps := [][]string{
		{"netns", "add", l.prefix + switchName},
		{"-n", l.prefix + switchName, "link", "set", "lo", "up"},
		{"-n", l.prefix + switchName, "link", "add", "br0", "type", "bridge"},
		{"-n", l.prefix + switchName, "addr", "add", "10.99.0.254/24", "dev", "br0"},
		{"-n", l.prefix + switchName, "link", "set", "br0", "up"},
	}
	for i, name := range c.Hosts {
		h := &Host{Name: name, Addr: fmt.Sprintf("10.99.0.%d", i+1), lab: l, netns: l.prefix + name}
		l.hosts[name] = h
		steps = append(steps, h.steps()...)
	}
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return err
		}
	}
	return nil
}

// steps make the host's network and join it to the switch.
func (h *Host) steps() [][]string {
	port, hub := h.port(), h.lab.prefix+switchName
	return [][]string{
		{"netns", "add", h.netns},
		{"-n", h.netns, "link", "set", "lo", "up"},
		{"-n", h.netns, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", hub},
		{"-n", h.netns, "addr", "add", h.Addr + "/24", "dev", "eth0"},
		{"-n", h.netns, "link", "set", "eth0", "up"},
		{"-n", hub, "link", "set", port, "master", "br0", "up"},
		{"-n", h.netns, "route", "add", "default", "via", "10.99.0.254"},
	}
}

func (h *Host) port() string { return "p" + h.Name }

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Host returns a declared host; an unknown name panics, it is a typing error.
func (l *Lab) Host(name string) *Host {
	h, ok := l.hosts[name]
	if !ok {
		panic("netlab: no host " + name)
	}
	return h
}

// Path is a file or directory of the lab.
func (l *Lab) Path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

// Command prepares a program inside the host's network.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	all := append([]string{"--net=/run/netns/" + h.netns, "--", name}, args...)
	return exec.CommandContext(ctx, "nsenter", all...)
}

// Run runs a program inside the host's network to its end, at most 60 s, and
// returns what it printed.
func (h *Host) Run(name string, args ...string) (string, error) {
	return h.RunFor(60*time.Second, name, args...)
}

// RunFor is Run with another limit.
func (h *Host) RunFor(limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := h.Command(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("on %s: %s %s: %w: %s", h.Name, name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Down cuts the host from the switch, Up joins it again.
func (h *Host) Down() error { return h.link("down") }

// Up joins the host to the switch again.
func (h *Host) Up() error { return h.link("up") }

func (h *Host) link(state string) error {
	_, err := h.lab.switchHost().Run("ip", "link", "set", h.port(), state)
	return err
}

func (l *Lab) switchHost() *Host {
	return &Host{Name: switchName, lab: l, netns: l.prefix + switchName}
}

// Close stops every process of the lab and removes all it made; the directory
// too when removeDir is set.
func (l *Lab) Close(removeDir bool) error {
	err := clean(l.prefix, l.Dir)
	if removeDir {
		err = errors.Join(err, os.RemoveAll(l.Dir))
	}
	return err
}
