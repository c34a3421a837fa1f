package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakestra/pkg/supervise"
)

func stopCommand(a *app) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "stop", Short: "stop the daemons of this machine, leave what they run", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := loadSite(state)
			if err != nil {
				return err
			}
			return a.stop(s)
		},
	}
	cmd.Flags().StringVar(&state, "state", "/var/lib/oakestra", "directory for everything stored")
	return cmd
}

func downCommand(a *app) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use: "down", Short: "stop everything on this machine and remove all of it", Args: cobra.NoArgs,
		Long: "Stops the daemons, then removes containers, networks, rules, images and stored state that oak up made here. It asks nobody: what ran is gone.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("removing containers and networks needs root; run: sudo oak down")
			}
			s, err := loadSite(state)
			if err != nil {
				return err
			}
			return a.down(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&state, "state", "/var/lib/oakestra", "directory for everything stored")
	return cmd
}

// loadSite reads how "oak up" was called; a directory without a site is an
// empty one.
func loadSite(state string) (site, error) {
	dir, err := filepath.Abs(state)
	if err != nil {
		return site{}, err
	}
	s := site{State: dir, Containerd: "auto"}
	data, err := os.ReadFile(s.dir("site.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", s.dir("site.json"), err)
	}
	s.State = dir
	return s, nil
}

func (a *app) stop(s site) error {
	p, err := supervise.Load(s.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		a.say("  no daemons run")
		return s.stopStray()
	}
	if err != nil {
		return err
	}
	if err := p.Stop(60 * time.Second); err != nil {
		return err
	}
	a.say("  daemons stopped")
	return s.stopStray()
}

// stopStray stops daemons that a killed supervisor may have left.
func (s site) stopStray() error {
	var errs []error
	for _, c := range s.children() {
		if p, err := supervise.Load(c.Pid); err == nil {
			errs = append(errs, p.Stop(10*time.Second))
		}
	}
	return errors.Join(errs...)
}

func (a *app) down(ctx context.Context, s site) error {
	if _, err := os.Stat(s.dir("site.json")); errors.Is(err, os.ErrNotExist) {
		a.say("nothing to remove: %s holds no site", s.State)
		return nil
	}
	if err := a.stop(s); err != nil {
		return err
	}
	steps := []struct {
		what    string
		program string
		args    []string
	}{
		{"containers removed", "NodeEngine", []string{"purge", "-data", s.dir("node"), "-containerd", s.Containerd}},
		{"network removed", "NetManager", []string{"purge", "-data", s.dir("net")}},
	}
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		out, err := exec.CommandContext(ctx, program(step.program), step.args...).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("%s %s: %w\n%s\nnothing more was removed; run oak down again when this is mended", step.program, strings.Join(step.args, " "), err, out)
		}
		a.say("  %s", step.what)
	}
	if err := s.removeState(); err != nil {
		return err
	}
	a.say("  %s removed", s.State)
	return nil
}

// removeState deletes what a site stores and nothing else that may lie there.
func (s site) removeState() error {
	for _, name := range []string{"root", "cluster", "node", "net", "logs", "site.json"} {
		if err := os.RemoveAll(s.dir(name)); err != nil {
			return err
		}
	}
	for _, c := range s.children() {
		_ = os.Remove(c.Pid)
	}
	if err := os.Remove(s.State); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s holds files that are not of oak: %w", s.State, err)
	}
	return nil
}
