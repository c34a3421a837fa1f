package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// orphanView is a container that no record explains.
type orphanView struct {
	ClusterID string `json:"cluster_id"`
	Cluster   string `json:"cluster_name"`
	Node      string `json:"node_id"`
	Host      string `json:"host"`
	ID        string `json:"microserviceID"`
	Service   string `json:"job_name"`
	Number    int    `json:"instance_number"`
	Epoch     string `json:"epoch"`
	Since     string `json:"since"`
	Status    string `json:"status"`
	Reason    string `json:"reason"`
}

func (o orphanView) name() string {
	return moveView{Service: o.Service, ID: o.ID, Number: o.Number}.name()
}

// called says whether a name means it: that of its service, in full or short,
// or its id.
func (o orphanView) called(name string) bool {
	service, number, _ := strings.Cut(name, "/")
	if number != strconv.Itoa(o.Number) || service == "" {
		return false
	}
	parts := strings.Split(o.Service, ".") // application.namespace.service.namespace
	return service == o.Service || service == o.ID || len(parts) == 4 && service == parts[2]
}

func isNumber(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && strconv.Itoa(n) == s && n >= 0
}

func (o orphanView) line() string {
	return fmt.Sprintf("%s (epoch %s) on node %s of cluster %s: %s", o.name(), o.Epoch, cmp.Or(o.Node, "-"), o.Cluster, o.Reason)
}

// route is where it is removed.
func (o orphanView) route() string {
	return fmt.Sprintf("/api/orphans/%s/%s/%s/%d?epoch=%s", url.PathEscape(o.ClusterID), url.PathEscape(cmp.Or(o.Node, "-")),
		url.PathEscape(cmp.Or(o.ID, o.Service)), o.Number, url.QueryEscape(o.Epoch))
}

// place is where to look for orphans.
type place struct{ cluster, node string }

func (p *place) flags(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.cluster, "cluster", "", "name or id of a cluster")
	cmd.Flags().StringVar(&p.node, "node", "", "id or host name of a worker")
	completeFlag(cmd, "cluster", a.completeClusters())
	completeFlag(cmd, "node", a.completeNodes())
}

func (p *place) route() string {
	return "/api/orphans?cluster=" + url.QueryEscape(p.cluster) + "&node=" + url.QueryEscape(p.node)
}

func orphansCommand(a *app) *cobra.Command {
	var at place
	cmd := &cobra.Command{Use: "orphans", Short: "list containers that no record explains", Args: cobra.NoArgs,
		Long: `Lists containers of Oakestra that workers report and nothing explains, and why.
They run on until somebody removes them: oak orphan rm.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(a, cmd, at.route(), "CONTAINER\tNODE\tCLUSTER\tEPOCH\tSINCE\tSTATUS\tWHY", func(v orphanView) [][]any {
				return [][]any{{v.name(), v.Node, v.Cluster, v.Epoch, v.Since, v.Status, v.Reason}}
			})
		}}
	at.flags(a, cmd)
	return cmd
}

// pick is which orphans are meant.
type pick struct {
	place
	name, epoch string
	all, yes    bool
}

func orphanCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "orphan", Short: "remove containers that no record explains"}
	var p pick
	rm := &cobra.Command{Use: "rm [SERVICE/NUMBER]", Short: "remove one, or all of a worker", Args: cobra.MaximumNArgs(1),
		Long: `Removes containers that "oak orphans" lists, after asking. SERVICE is the
name of a service, in full or short, or its id. What belongs to an
instance by the time the order arrives is not removed. The worker's cluster
stores the order and must be connected; the worker need not be.`,
		Example: "  oak orphan rm clientsrvr.test.nginx.test/0 --node worker-1\n  oak orphan rm --all --node worker-1 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == p.all {
				return errors.New("which one? oak orphan rm SERVICE/NUMBER, or --all with --node or --cluster")
			}
			if p.all && p.place == (place{}) {
				return errors.New("all of which worker? give --node or --cluster with --all")
			}
			if !p.all {
				if _, number, ok := strings.Cut(args[0], "/"); !ok || !isNumber(number) {
					return fmt.Errorf("%q: want SERVICE/NUMBER, such as nginx/0; see: oak orphans", args[0])
				}
				p.name = args[0]
			}
			return a.removeOrphans(cmd, p)
		}}
	p.flags(a, rm)
	rm.ValidArgsFunction = first(offer(a, func(*cobra.Command) string { return p.route() }, orphanView.name))
	rm.Flags().StringVar(&p.epoch, "epoch", "", "of several with one name, the one with this epoch")
	rm.Flags().BoolVar(&p.all, "all", false, "all of a worker, or of a cluster")
	rm.Flags().BoolVarP(&p.yes, "yes", "y", false, "do not ask")
	cmd.AddCommand(rm)
	return cmd
}

func (a *app) removeOrphans(cmd *cobra.Command, p pick) error {
	c, err := a.signedIn(cmd.Context())
	if err != nil {
		return err
	}
	found, err := c.orphans(cmd.Context(), p)
	if err != nil {
		return err
	}
	if !p.yes {
		if err := confirm(cmd, found); err != nil {
			return err
		}
	}
	var failed []error
	said := []string{}
	for _, o := range found {
		var answer struct {
			Message string `json:"message"`
		}
		if err := c.do(cmd.Context(), http.MethodDelete, o.route(), nil, &answer); err != nil {
			failed = append(failed, fmt.Errorf("%s on node %s: %w", o.name(), o.Node, err))
			continue
		}
		if said = append(said, answer.Message); !a.json {
			a.say("%s", answer.Message)
		}
	}
	if a.json {
		failed = append(failed, a.encode(said))
	}
	return errors.Join(failed...)
}

// orphans lists those that are meant, at least one.
func (c *client) orphans(ctx context.Context, p pick) ([]orphanView, error) {
	var all, found []orphanView
	if err := c.do(ctx, http.MethodGet, p.route(), nil, &all); err != nil {
		return nil, err
	}
	for _, o := range all {
		if (p.all || o.called(p.name)) && (p.epoch == "" || p.epoch == o.Epoch) {
			found = append(found, o)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("no such container is without a record; see: oak orphans")
	case len(found) > 1 && !p.all:
		lines := make([]string, len(found))
		for i, o := range found {
			lines[i] = "\n  " + o.line()
		}
		return nil, fmt.Errorf("several are called %s; say which with --node, --cluster or --epoch:%s", p.name, strings.Join(lines, ""))
	}
	return found, nil
}

// confirm asks before something is removed.
func confirm(cmd *cobra.Command, list []orphanView) error {
	for _, o := range list {
		fmt.Fprintln(os.Stderr, o.line())
	}
	fmt.Fprintf(os.Stderr, "remove %d container(s)? [y/N] ", len(list))
	line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was removed; --yes does not ask")
}
