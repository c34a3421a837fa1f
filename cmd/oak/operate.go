package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

type drainView struct {
	Message string     `json:"message"`
	Moving  []moveView `json:"moving"`
	Staying []moveView `json:"staying"`
}

type moveView struct {
	Service string `json:"job_name"`
	ID      string `json:"microserviceID"`
	Number  int    `json:"instance_number"`
	To      string `json:"to"`
	Reason  string `json:"reason"`
}

type removedView struct {
	Orphaned []moveView `json:"orphaned"`
}

func nodeCommand(a *app) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{Use: "node", Short: "take workers out of use and back",
		Long: `Changes how a worker is used; its cluster stores that, so it must be connected.

  oak node cordon worker-1      takes nothing new; what runs there stays
  oak node drain worker-1       cordon, and what runs there moves, replacement first
  oak node drain worker-1       again: what is still on its way, what cannot move and why
  oak node uncordon worker-1    back in use
  oak node rm worker-1          forget one that is switched off for good`}
	cmd.PersistentFlags().StringVar(&cluster, "cluster", "", "name or id of its cluster, when several have a node of this name")
	completeFlag(cmd, "cluster", a.completeClusters())
	do := func(use, short, method, suffix string) {
		cmd.AddCommand(&cobra.Command{Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: first(a.completeNodes()),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.operate(cmd.Context(), method, "/api/nodes/"+url.PathEscape(args[0])+suffix+"?cluster="+url.QueryEscape(cluster))
			}})
	}
	do("cordon", "let it take nothing new", http.MethodPost, "/cordon")
	do("uncordon", "let it take instances again; ends a drain", http.MethodPost, "/uncordon")
	do("drain", "move what runs there elsewhere, replacement first", http.MethodPost, "/drain")
	do("rm", "forget a worker that is lost", http.MethodDelete, "")
	return cmd
}

// operate sends an order and prints what the answer says.
func (a *app) operate(ctx context.Context, method, route string) error {
	c, err := a.signedIn(ctx)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.do(ctx, method, route, nil, &raw); err != nil {
		return err
	}
	if a.json {
		_, err := fmt.Fprintln(a.out, string(raw))
		return err
	}
	var d drainView
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("answer of %s: %w", route, err)
	}
	a.say("%s", d.Message)
	for _, m := range d.Moving {
		a.say("  %s moves to %s", m.name(), m.To)
	}
	for _, m := range d.Staying {
		a.say("  %s stays: %s", m.name(), m.Reason)
	}
	return nil
}

func (m moveView) name() string {
	if m.Service == "" {
		m.Service = m.ID
	}
	return fmt.Sprintf("%s/%d", m.Service, m.Number)
}

func clusterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "forget clusters, confirm losses, approve one that lost its data"}
	var force bool
	rm := &cobra.Command{Use: "rm NAME", Short: "forget a cluster that is away", Args: cobra.ExactArgs(1),
		Long: `Forgets a cluster (name or id) and frees its subnets. Stop its cluster manager
first. While instances are assigned to it, the answer lists them and nothing
happens; with --force they start elsewhere, and their containers there go on
until somebody stops them.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.signedIn(cmd.Context())
			if err != nil {
				return err
			}
			var raw json.RawMessage
			route := fmt.Sprintf("/api/cluster/%s?force=%v", url.PathEscape(args[0]), force)
			if err := c.do(cmd.Context(), http.MethodDelete, route, nil, &raw); err != nil {
				return err
			}
			if a.json {
				_, err := fmt.Fprintln(a.out, string(raw))
				return err
			}
			var v removedView
			if err := json.Unmarshal(raw, &v); err != nil {
				return fmt.Errorf("answer of %s: %w", route, err)
			}
			a.say("cluster %s is forgotten; %d instances start elsewhere", args[0], len(v.Orphaned))
			return nil
		}}
	confirm := &cobra.Command{Use: "confirm-loss NAME", Short: "replace at once what ran on lost workers", Args: cobra.ExactArgs(1),
		Long: `A cluster that loses many workers at once (more than three, and more than 30 %)
replaces nothing for five minutes: the fault is then more likely its own network
(oak events: ReplacementPaused). This says that they really are lost.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.operate(cmd.Context(), http.MethodPost, "/api/clusters/"+url.PathEscape(args[0])+"/confirm-loss")
		}}
	cmd.AddCommand(confirm)
	confirm.ValidArgsFunction, rm.ValidArgsFunction = first(a.completeClusters()), first(a.completeClusters())
	rm.Flags().BoolVar(&force, "force", false, "also when instances are assigned to it")
	approve := &cobra.Command{Use: "approve NAME", Short: "let a site that lost its data directory be itself again", Args: cobra.ExactArgs(1),
		Long: `A cluster manager without its data directory has a new key, and the root
refuses it: the name belongs to the key of before. This makes the one that asked
last that cluster (name or id). It gets its assignments back and takes up what
its workers still run.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.operate(cmd.Context(), http.MethodPost, "/api/cluster/"+url.PathEscape(args[0])+"/approve")
		}}
	cmd.AddCommand(rm, approve)
	return cmd
}
