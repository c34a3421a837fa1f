package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"oakestra/cmd/oak/sim"
)

const simHelp = `Measures what a site of many workers costs, on this machine: real system-manager
and cluster-managers, simulated workers that register, report and run containers
in memory only. Nothing that runs here already is touched; root is not needed.

  oak sim                                   1 000 workers, the built-in steps
  oak sim --workers 5000 --clusters 2       two cluster-managers
  oak sim --agent original                  workers as of v0.4: two messages per 2 s
  oak sim --broker mosquitto                with mosquitto beside each cluster-manager
  oak sim --print > mine.json               the scenario as a file, to be changed
  oak sim -f mine.json --json               and run; results as JSON

A scenario is a JSON object. Besides workers, clusters, agent and broker, which
are as the flags, and steps it may have: name (shown with --json), start_ms (from
an order until its container runs), milli_cpu and memory_mb (what each worker
offers), timeout_s (for a step to converge), on_cluster_loss (of the services:
keep or replace). What is left out is as in --print.
Steps of a scenario: start, deploy (instances, services), measure (seconds),
kill (percent), revive, partition (percent, seconds), cut (what: root-link,
seconds, clusters), restart (what: cluster-manager, system-manager or broker),
storm, undeploy. kill switches machines off, without a farewell. partition cuts
workers off and heals them. cut does that to the first clusters, one if nothing
else is said: they cannot reach the root, and their workers notice nothing; with
replace, what they run starts elsewhere, too, after 75 s. restart is kill -9 and
a start. storm breaks all sessions at once. A step ends when workers,
cluster-managers and root agree with what is wanted.

The table, a line per step:
  CONVERGED s   until all agree, counted from when what was broken on purpose was
                whole again: from the end of a partition or cut, from the new start
                of a daemon, else from the beginning of the step
  LOST, EXTRA   instances that run nowhere, or twice, or unwanted, at the end
  MOST EXTRA    the most that ran twice at one time while a cluster was cut off
  LOST WORKERS  the most the root saw at one time
  MGR CPU s     CPU seconds of the cluster-managers in this step; MGR CORE is the
                share of one core of the busiest, MGR RSS the largest at the end
  ROOT, BROKER, SIM CORE   the same for root, outside brokers, simulated workers
  MSG/s         messages from workers
  PLACED/s      orders that arrived at workers, from the first to the last
  AGE           how old the state of instances is when the API shows it
  LATE ms       how late the simulator itself was with a report, at most; when
                that is more than some 500 the machine is too small to tell

How many workers fit: each takes a file in the broker and one in the simulator,
and a process may open as many as ulimit -Hn says. Workers here have no
NetManager: one that has sends a report more each 2 s, on a connection more.`

func simCommand(a *app) *cobra.Command {
	var file string
	var show bool
	var o sim.Options
	flags := sim.Default()
	cmd := &cobra.Command{Use: "sim", Short: "measure a site of many simulated workers", Long: simHelp, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := scenario(cmd, file, flags)
			if err != nil {
				return err
			}
			if show {
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			if o.Self, err = os.Executable(); err != nil {
				return err
			}
			o.Progress = os.Stderr
			report, err := sim.Run(cmd.Context(), s, o)
			if len(report.Results) == 0 {
				return err
			}
			if a.json {
				return errors.Join(json.NewEncoder(a.out).Encode(report), err)
			}
			return errors.Join(report.Print(a.out), err)
		}}
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "scenario; flags win over it")
	f.IntVar(&flags.Workers, "workers", flags.Workers, "simulated workers")
	f.IntVar(&flags.Clusters, "clusters", flags.Clusters, "cluster-managers that share them")
	f.StringVar(&flags.Agent, "agent", flags.Agent, "ours or original")
	f.StringVar(&flags.Broker, "broker", flags.Broker, "embedded or mosquitto")
	f.StringVar(&o.State, "state", "", "directory for stores and logs, kept (default: a temporary one, removed when all went well)")
	f.StringVar(&o.Bin, "bin", "", "directory of system-manager and cluster-manager (default: that of oak)")
	f.BoolVar(&show, "print", false, "print the scenario and end")
	cmd.AddCommand(&cobra.Command{Use: sim.WorkersCommand, Short: "be simulated workers (started by oak sim)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sim.RunWorkers(cmd.Context(), os.Stdin, os.Stdout)
		}})
	return cmd
}

// scenario is the file, or the built-in one, with the flags that were given.
func scenario(cmd *cobra.Command, file string, flags sim.Scenario) (sim.Scenario, error) {
	s := sim.Default()
	if file != "" {
		in, err := os.Open(file)
		if err != nil {
			return s, err
		}
		defer in.Close()
		if s, err = sim.Read(in); err != nil {
			return s, fmt.Errorf("%s: %w", file, err)
		}
	}
	for name, set := range map[string]func(){
		"workers":  func() { s.Workers = flags.Workers },
		"clusters": func() { s.Clusters = flags.Clusters },
		"agent":    func() { s.Agent = flags.Agent },
		"broker":   func() { s.Broker = flags.Broker },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return s, s.Validate()
}
