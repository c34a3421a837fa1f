package sim

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the report as a table.
func (r Report) Print(out io.Writer) error {
	s := r.Scenario
	fmt.Fprintf(out, "%d workers (%s), %d cluster-manager(s), broker: %s\n\n", s.Workers, s.Agent, s.Clusters, s.Broker)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tCONVERGED s\tLOST\tEXTRA\tMOST EXTRA\tLOST WORKERS\tMGR CPU s\tMGR CORE\tMGR RSS MiB\tROOT CORE\tBROKER CORE\tSIM CORE\tMSG/s\tPLACED/s\tAGE p50/p99 ms\tLATE ms\tLOAD")
	for _, v := range r.Results {
		converged := fmt.Sprintf("%.1f", v.ConvergedS)
		if v.Error != "" {
			converged = "NOT"
		}
		placed, age := "-", "-"
		if v.Placements > 0 {
			placed = fmt.Sprintf("%.0f", v.Placements)
		}
		if v.AgeP50 > 0 {
			age = fmt.Sprintf("%.0f/%.0f", v.AgeP50, v.AgeP99)
		}
		if v.ConvergedS == 0 && v.Error == "" {
			converged = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%.2f\t%.3f\t%.0f\t%.3f\t%.3f\t%.3f\t%.0f\t%s\t%s\t%d\t%s\n", v.Step, converged, v.Lost, v.Extra, v.MostExtra, v.LostNodes,
			v.ManagerCPU, v.Manager, v.ManagerRSS, v.Root, v.Broker, v.Workers, v.Messages, placed, age, v.LateMS, v.Load)
	}
	return w.Flush()
}
