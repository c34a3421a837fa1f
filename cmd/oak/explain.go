package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

type explanationView struct {
	Name    string      `json:"job_name"`
	OneMore outlookView `json:"one_more"`
	Waiting []struct {
		Number  int         `json:"instance_number"`
		Status  string      `json:"status"`
		Detail  string      `json:"status_detail"`
		Outlook outlookView `json:"outlook"`
	} `json:"waiting"`
	Total int `json:"waiting_total"`
}

type outlookView struct {
	Message  string `json:"message"`
	Clusters []struct {
		Name      string `json:"cluster_name"`
		Qualifies bool   `json:"qualifies"`
		Reason    string `json:"reason"`
		Detail    string `json:"detail"`
		Answer    string `json:"answer"`
		State     string `json:"status_detail"`
		Workers   int    `json:"workers"`
		Qualified int    `json:"qualified"`
		Worker    string `json:"worker_id"`
		Reasons   []struct {
			Reason string `json:"reason"`
			Count  int    `json:"count"`
			Detail string `json:"detail"`
		} `json:"reasons"`
		Nodes []struct {
			ID        string `json:"id"`
			Qualifies bool   `json:"qualifies"`
			Reason    string `json:"reason"`
			Detail    string `json:"detail"`
		} `json:"nodes"`
		Omitted int `json:"nodes_omitted"`
	} `json:"clusters"`
}

func explainCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "explain SERVICE", Short: "see where a service would go, and why instances wait", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeServices,
		Long: `Tries the placement of one more instance of a service (name or id), and of the
instances that wait, and places nothing. Every cluster that is connected says of
its workers whether they would take it, and if not, why.`,
		Example: "  oak explain clientsrvr.test.nginx.test\n  oak explain nginx --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, id, err := a.serviceByName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.do(cmd.Context(), http.MethodGet, "/api/service/"+id+"/explain", nil, &raw); err != nil {
				return err
			}
			if a.json {
				_, err := fmt.Fprintln(a.out, string(raw))
				return err
			}
			var v explanationView
			if err := json.Unmarshal(raw, &v); err != nil {
				return fmt.Errorf("explanation of %s: %w", args[0], err)
			}
			a.explain(v)
			return nil
		}}
}

func (a *app) explain(v explanationView) {
	a.say("one more instance of %s: %s", v.Name, v.OneMore.Message)
	a.outlook(v.OneMore)
	for _, w := range v.Waiting {
		a.say("instance %d is %s: %s", w.Number, w.Status, w.Detail)
		a.say("  now: %s", w.Outlook.Message)
	}
	if more := v.Total - len(v.Waiting); more > 0 {
		a.say("%d more instances wait", more)
	}
}

func (a *app) outlook(o outlookView) {
	for _, c := range o.Clusters {
		why := "may be asked"
		if !c.Qualifies {
			why = c.Reason + " (" + c.Detail + ")"
		}
		if c.State != "" {
			why += "; " + c.State // of one that is not connected it says so
		}
		if c.State != "" && c.Answer == "not connected" {
			a.say("  cluster %s: %s", c.Name, why)
			continue
		}
		if c.Answer != "answered" {
			a.say("  cluster %s: %s; %s", c.Name, why, c.Answer)
			continue
		}
		if c.Workers == 0 {
			a.say("  cluster %s: has no workers", c.Name)
			continue
		}
		parts := []string{fmt.Sprintf("%d of %d workers qualify", c.Qualified, c.Workers)}
		for _, r := range c.Reasons {
			parts = append(parts, fmt.Sprintf("%s %d (%s)", r.Reason, r.Count, r.Detail))
		}
		a.say("  cluster %s: %s; %s", c.Name, why, strings.Join(parts, ", "))
		for _, n := range c.Nodes {
			switch {
			case n.ID == c.Worker:
				a.say("    worker %s: would be taken", n.ID)
			case n.Qualifies:
				a.say("    worker %s: qualifies", n.ID)
			default:
				a.say("    worker %s: %s", n.ID, strings.TrimSpace(n.Reason+" "+n.Detail))
			}
		}
		if c.Omitted > 0 {
			a.say("    %d more workers", c.Omitted)
		}
	}
}
