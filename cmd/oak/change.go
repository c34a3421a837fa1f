package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func applyCommand(a *app) *cobra.Command {
	var file string
	var dry, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "make applications what a descriptor says", Args: cobra.NoArgs,
		Long: `Creates what is missing and changes what differs; a changed service is rolled
out, one instance after the other. The same file twice changes nothing the
second time. Nothing is deleted: for that there is oak delete.

A service starts as many instances as the key "replicas" of its descriptor
says; without it the number stays as it is, which for a new service is none.`,
		Example: "  oak apply -f app.json --dry-run\n  oak apply -f app.json --wait\n  cat app.json | oak apply -f -",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if file == "" {
				return errors.New("which descriptor? oak apply -f FILE")
			}
			data, err := readFile(cmd, file)
			if err != nil {
				return err
			}
			c, err := a.signedIn(ctx)
			if err != nil {
				return err
			}
			v, err := a.apply(ctx, c, data, dry)
			if err != nil || !wait || dry {
				return err
			}
			for _, item := range append(v.Created, v.Changed...) {
				if item.Kind == "service" {
					if err := a.waitRollout(ctx, c, item.ID, timeout); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "descriptor, or - for standard input")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would change")
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait until everything is rolled out and runs")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait for each service")
	return cmd
}

func (a *app) apply(ctx context.Context, c *client, descriptor []byte, dry bool) (v appliedView, err error) {
	route := "/api/apply"
	if dry {
		route += "?dry_run=1"
	}
	if err := c.do(ctx, http.MethodPost, route, descriptor, &v); err != nil {
		return v, err
	}
	if a.json {
		return v, a.encode(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, part := range []struct {
		word string
		list []appliedItem
	}{{"created", v.Created}, {"changed", v.Changed}, {"left", v.Left}} {
		for _, i := range part.list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", part.word, i.Kind, i.Name, i.What)
		}
	}
	if err := w.Flush(); err != nil {
		return v, err
	}
	a.warn(v.Warnings)
	if dry {
		a.say("nothing was changed: this was a dry run")
	}
	return v, nil
}

func (a *app) encode(v any) error { return json.NewEncoder(a.out).Encode(v) }

func (a *app) warn(list []string) {
	for _, w := range list {
		a.say("warning: %s", w)
	}
}

func scaleCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "scale SERVICE N", Short: "set how many instances a service has", Args: cobra.ExactArgs(2),
		Long:    "Adds instances, or ends those with the highest numbers. The others are not touched.",
		Example: "  oak scale nginx 3\n  oak scale clientsrvr.test.nginx.test 0",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 {
				return fmt.Errorf("number of instances %q: want 0 or more", args[1])
			}
			c, id, err := a.serviceByName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var v scaledView
			if err := c.do(cmd.Context(), http.MethodPost, "/api/service/"+id+"/scale", map[string]int{"replicas": n}, &v); err != nil {
				return err
			}
			if a.json {
				return a.encode(v)
			}
			a.say("%s has %d instance(s): %d added, %d removed", args[0], v.Replicas, len(v.Added), len(v.Removed))
			return nil
		},
	}
}

func updateCommand(a *app) *cobra.Command {
	var file, image string
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "update SERVICE", Short: "change a service and roll the change out", Args: cobra.ExactArgs(1),
		Long: `Changes what the file says of a service and keeps everything else. The file holds
the keys of one service, such as {"code":"nginx:1.27","memory":200}, or a
descriptor with one service in it. Instances are replaced one after the other
(max_unavailable at a time); each must run before the next follows, and the
first one that fails stops the rollout. Back: oak rollback SERVICE.`,
		Example: "  oak update nginx --image docker.io/library/nginx:1.27 --wait\n  echo '{\"memory\":200}' | oak update nginx -f -",
		RunE: func(cmd *cobra.Command, args []string) error {
			var body []byte
			var err error
			switch {
			case (file == "") == (image == ""):
				return errors.New("what changes? give either -f FILE or --image IMAGE")
			case file != "":
				body, err = readFile(cmd, file)
			default:
				body, err = json.Marshal(map[string]string{"code": image})
			}
			if err != nil {
				return err
			}
			return a.change(cmd.Context(), args[0], wait, timeout, http.MethodPut, "", body)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "what changes, in JSON; - for standard input")
	cmd.Flags().StringVar(&image, "image", "", "change the image only")
	waitFlags(cmd, &wait, &timeout)
	return cmd
}

func waitFlags(cmd *cobra.Command, wait *bool, timeout *time.Duration) {
	cmd.Flags().BoolVarP(wait, "wait", "w", false, "wait until it is rolled out")
	cmd.Flags().DurationVar(timeout, "timeout", 10*time.Minute, "how long to wait")
}

func rollbackCommand(a *app) *cobra.Command {
	var to uint64
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "rollback SERVICE", Short: "go back to an earlier revision of a service", Args: cobra.ExactArgs(1),
		Long: `Goes back to the revision before the present one, or to another of the last ten
(see: oak rollout SERVICE --history). Only instances that do not run it are
replaced. A rollback is a new revision: rolling back twice undoes it.`,
		Example: "  oak rollback nginx --wait\n  oak rollback nginx --to 3",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := []byte("{}")
			if to > 0 {
				body = fmt.Appendf(nil, `{"revision":%d}`, to)
			}
			return a.change(cmd.Context(), args[0], wait, timeout, http.MethodPost, "/rollback", body)
		},
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "which revision; 0: the one before the present")
	waitFlags(cmd, &wait, &timeout)
	return cmd
}

// change sends what changes a service and tells, or waits for, what follows.
func (a *app) change(ctx context.Context, name string, wait bool, timeout time.Duration, method, route string, body []byte) error {
	c, id, err := a.serviceByName(ctx, name)
	if err != nil {
		return err
	}
	var v serviceView
	if err := c.do(ctx, method, "/api/service/"+id+route, body, &v); err != nil {
		return err
	}
	a.warn(v.Warnings)
	if wait {
		return a.waitRollout(ctx, c, id, timeout)
	}
	if a.json {
		return a.encode(v.Rollout)
	}
	a.say("%s\nsee: oak rollout %s --wait", v.rolloutLine(), name)
	return nil
}

func rolloutCommand(a *app) *cobra.Command {
	var wait, history bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "rollout SERVICE", Short: "show or await how far a change of a service is", Args: cobra.ExactArgs(1),
		Long: `Shows how many instances have the present revision. With --wait it ends when all
have, or with an error when the rollout failed: what was not replaced by then
runs on as it was.`,
		Example: "  oak rollout nginx\n  oak rollout nginx --wait --timeout 2m\n  oak rollout nginx --history",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, id, err := a.serviceByName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			switch {
			case history:
				return list(a, cmd, "/api/service/"+id+"/revisions", "REVISION\tPRESENT\tIMAGE\tCHANGES", func(v revisionView) [][]any {
					return [][]any{{v.Revision, v.Present, v.Image, strings.Join(v.Changes, ", ")}}
				})
			case wait:
				return a.waitRollout(cmd.Context(), c, id, timeout)
			}
			v, err := c.service(cmd.Context(), id)
			if err != nil {
				return err
			}
			if a.json {
				return a.encode(v.Rollout)
			}
			a.say("%s", v.rolloutLine())
			return nil
		},
	}
	cmd.Flags().BoolVar(&history, "history", false, "list the revisions that are kept")
	waitFlags(cmd, &wait, &timeout)
	return cmd
}

func (v serviceView) rolloutLine() string {
	r := v.Rollout
	line := fmt.Sprintf("%s: revision %d %s, %d of %d instance(s) have it", v.JobName, r.Target, r.State, r.Updated, r.Total)
	if r.Message != "" {
		line += ": " + r.Message
	}
	return line
}

// waitRollout prints every change until the rollout is over and all run.
func (a *app) waitRollout(ctx context.Context, c *client, id string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := ""
	for {
		v, err := c.service(ctx, id)
		if err != nil {
			return err
		}
		line := v.rolloutLine()
		if line != last {
			a.say("%s", line)
			last = line
		}
		switch {
		case v.Rollout.State == "failed":
			return fmt.Errorf("the rollout of %s failed: %s\nwhat was not replaced runs on; back: oak rollback %s", v.JobName, v.Rollout.Message, v.JobName)
		case v.Rollout.State == "done" && v.allRun():
			if a.json {
				return a.encode(v.Rollout)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not rolled out after %s: %s", timeout, line)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (v serviceView) allRun() bool {
	for _, i := range v.Instances {
		if i.Status != "RUNNING" && i.Status != "COMPLETED" {
			return false
		}
	}
	return true
}
