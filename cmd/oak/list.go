package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// list fetches a route and prints it as JSON or, by row, as a table.
func list[T any](a *app, cmd *cobra.Command, route string, header string, row func(T) [][]any) error {
	c, err := a.signedIn(cmd.Context())
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.do(cmd.Context(), http.MethodGet, route, nil, &raw); err != nil {
		return err
	}
	if a.json {
		_, err := fmt.Fprintln(a.out, string(raw))
		return err
	}
	var items []T
	if err := json.Unmarshal(raw, &items); err != nil {
		return fmt.Errorf("answer of %s: %w", route, err)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, item := range items {
		for _, cells := range row(item) {
			text := make([]string, len(cells))
			for i, cell := range cells {
				if text[i] = fmt.Sprint(cell); text[i] == "" {
					text[i] = "-"
				}
			}
			fmt.Fprintln(w, strings.Join(text, "\t"))
		}
	}
	return w.Flush()
}

func appsCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "apps", Aliases: []string{"applications"}, Short: "list applications", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(a, cmd, "/api/applications/", "NAME\tNAMESPACE\tSERVICES\tOWNER\tID", func(v applicationView) [][]any {
				return [][]any{{v.Name, v.NS, len(v.Services), v.Owner, v.ID}}
			})
		}}
}

func servicesCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "services [APPLICATION]", Short: "list services and their instances", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			route := "/api/services/"
			if len(args) == 1 {
				c, err := a.signedIn(cmd.Context())
				if err != nil {
					return err
				}
				id, err := c.applicationID(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				route += id
			}
			return list(a, cmd, route, "SERVICE\tADDRESS\tINSTANCE\tSTATUS\tWORKER\tDETAIL\tID", serviceRows)
		}}
}

func serviceRows(v serviceView) [][]any {
	rows := [][]any{}
	for _, i := range v.Instances {
		rows = append(rows, []any{v.JobName, v.Address, i.Number, heard(i.Status, i.Stale), i.Worker, i.StatusDetail, v.ID})
	}
	if len(rows) == 0 {
		rows = append(rows, []any{v.JobName, v.Address, "none", "", "", "", v.ID})
	}
	return rows
}

func nodesCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "nodes", Aliases: []string{"workers"}, Short: "list the workers of all clusters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(a, cmd, "/api/nodes/", "NODE\tCLUSTER\tSTATUS\tADDRESS\tARCH\tVCPUS HELD/ALL\tMEMORY HELD/ALL MiB\tSUBNET\tDETAIL", func(v nodeView) [][]any {
				return [][]any{{v.ID, v.Cluster, heard(v.Status, v.Stale), v.Address, v.Arch,
					fmt.Sprintf("%g/%g", v.VCPUsHeld, v.VCPUs), fmt.Sprintf("%d/%d", v.MemoryHeld, v.MemoryMB), v.Subnet, v.detail()}}
			})
		}}
}

func clustersCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "clusters", Short: "list clusters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(a, cmd, "/api/clusters/", "CLUSTER\tACTIVE\tNODES\tVCPUS\tMEMORY MiB\tORPHANS\tADDRESS\tLOCATION\tDETAIL", func(v clusterView) [][]any {
				return [][]any{{v.Name, v.Active, v.Nodes, v.VCPUs, v.MemoryMB, v.Orphans, v.IP, v.Location, v.Detail}}
			})
		}}
}
