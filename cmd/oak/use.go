package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func loginCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "login [USER]", Short: "log in at a root and remember it",
		Long: "Asks for the password (or reads $OAK_PASSWORD) and keeps the token in the user's configuration directory, readable by the user alone.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			user := "Admin"
			if len(args) == 1 {
				user = args[0]
			}
			password := os.Getenv("OAK_PASSWORD")
			if password == "" {
				fmt.Fprintf(os.Stderr, "password of %s: ", user)
				line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if err != nil && line == "" {
					return errors.New("no password given; type it or set OAK_PASSWORD")
				}
				password = strings.TrimRight(line, "\r\n")
			}
			c := newClient(a.root)
			l, err := c.newLogin(cmd.Context(), user, password)
			if err != nil {
				return err
			}
			if err := saveLogin(l); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "logged in as %s at %s\n", user, c.base)
			return nil
		},
	}
}

func deployCommand(a *app) *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "deploy FILE", Short: "create what a descriptor says and start one instance of each service",
		Example: "  oak deploy deploy/deploy_curl_application.json --wait\n  cat app.json | oak deploy -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			data, err := readFile(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := a.signedIn(ctx)
			if err != nil {
				return err
			}
			services, err := a.deploy(ctx, c, data)
			if err != nil || !wait {
				return err
			}
			return a.waitRunning(ctx, c, services, timeout)
		},
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait until every service runs")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

func waitCommand(a *app) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "wait APPLICATION", Short: "wait until every service of an application runs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.signedIn(ctx)
			if err != nil {
				return err
			}
			id, err := c.applicationID(ctx, args[0])
			if err != nil {
				return err
			}
			services, err := c.services(ctx, id)
			if err != nil {
				return err
			}
			return a.waitRunning(ctx, c, services, timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

func readFile(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(name)
}

// deploy posts the descriptor and one instance for each of its services.
func (a *app) deploy(ctx context.Context, c *client, descriptor []byte) ([]serviceView, error) {
	var sla struct {
		Applications []struct {
			Name string `json:"application_name"`
			NS   string `json:"application_namespace"`
		} `json:"applications"`
	}
	if err := json.Unmarshal(descriptor, &sla); err != nil {
		return nil, fmt.Errorf("the descriptor is no JSON: %w", err)
	}
	var apps []applicationView
	if err := c.do(ctx, http.MethodPost, "/api/application/", descriptor, &apps); err != nil {
		return nil, err
	}
	var started []serviceView
	for _, want := range sla.Applications {
		for _, app := range apps {
			if app.Name != want.Name || app.NS != want.NS {
				continue
			}
			a.say("application %s.%s created (%s)", app.Name, app.NS, app.ID)
			services, err := c.services(ctx, app.ID)
			if err != nil {
				return started, err
			}
			for _, s := range services {
				if err := c.do(ctx, http.MethodPost, "/api/service/"+s.ID+"/instance", nil, nil); err != nil {
					return started, fmt.Errorf("start %s: %w", s.JobName, err)
				}
				a.say("service %s: instance asked for (%s)", s.JobName, s.ID)
				started = append(started, s)
			}
		}
	}
	return started, nil
}

func (a *app) say(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// waitRunning prints every change of a service's word until all run.
func (a *app) waitRunning(ctx context.Context, c *client, services []serviceView, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := map[string]string{}
	for {
		var missing []string
		for _, s := range services {
			now, err := c.service(ctx, s.ID)
			if err != nil {
				return err
			}
			running := 0
			line := "no instance"
			for _, i := range now.Instances {
				line = fmt.Sprintf("%s %s", i.Status, i.StatusDetail)
				if i.Status == "RUNNING" || i.Status == "COMPLETED" {
					running++
				}
			}
			if line = strings.TrimSpace(line); last[s.ID] != line {
				last[s.ID] = line
				a.say("service %s: %s", s.JobName, line)
			}
			if running == 0 || running < len(now.Instances) {
				missing = append(missing, s.JobName+" is "+line)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not running after %s: %s", timeout, strings.Join(missing, "; "))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (c *client) services(ctx context.Context, application string) ([]serviceView, error) {
	var list []serviceView
	return list, c.do(ctx, http.MethodGet, "/api/services/"+application, nil, &list)
}

func (c *client) service(ctx context.Context, id string) (serviceView, error) {
	var s serviceView
	return s, c.do(ctx, http.MethodGet, "/api/service/"+id, nil, &s)
}

func instanceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "instance", Short: "add and remove instances of a service"}
	var count int
	add := &cobra.Command{Use: "add SERVICE", Short: "start instances of a service (name or id)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, id, err := a.serviceByName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for range count {
				if err := c.do(cmd.Context(), http.MethodPost, "/api/service/"+id+"/instance", nil, nil); err != nil {
					return err
				}
			}
			a.say("%d instance(s) asked for; see: oak services", count)
			return nil
		}}
	add.Flags().IntVarP(&count, "count", "c", 1, "how many")
	remove := &cobra.Command{Use: "rm SERVICE NUMBER|all", Short: "stop one instance, or all", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			number := -1
			if args[1] != "all" {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 0 {
					return fmt.Errorf("instance number %q: want a number, or all", args[1])
				}
				number = n
			}
			c, id, err := a.serviceByName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.do(cmd.Context(), http.MethodDelete, fmt.Sprintf("/api/service/%s/instance/%d", id, number), nil, nil); err != nil {
				return err
			}
			a.say("instance %s of %s is being removed", args[1], args[0])
			return nil
		}}
	cmd.AddCommand(add, remove)
	return cmd
}

func deleteCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "delete", Short: "delete an application or a service with everything in it"}
	cmd.AddCommand(&cobra.Command{Use: "app APPLICATION", Short: "delete an application (name or id)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.signedIn(cmd.Context())
			if err != nil {
				return err
			}
			id, err := c.applicationID(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.do(cmd.Context(), http.MethodDelete, "/api/application/"+id, nil, nil); err != nil {
				return err
			}
			a.say("application %s is deleted", args[0])
			return nil
		}}, &cobra.Command{Use: "service SERVICE", Short: "delete a service (name or id)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, id, err := a.serviceByName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.do(cmd.Context(), http.MethodDelete, "/api/service/"+id, nil, nil); err != nil {
				return err
			}
			a.say("service %s is deleted", args[0])
			return nil
		}})
	return cmd
}

func recoverCommand(a *app) *cobra.Command {
	var accept bool
	cmd := &cobra.Command{Use: "recover", Short: "see or end the recovery of a root that lost its store", Args: cobra.NoArgs,
		Long: `A root that starts without its store, or with an older one, changes nothing until
every cluster it knew has reported what runs. With --accept it goes on without
the clusters that are still missing; what they hold is adopted when they come.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.signedIn(cmd.Context())
			if err != nil {
				return err
			}
			if accept {
				return c.do(cmd.Context(), http.MethodPost, "/api/recovery/accept", nil, nil)
			}
			var v recoveryView
			if err := c.do(cmd.Context(), http.MethodGet, "/api/recovery", nil, &v); err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(v)
			}
			a.recovery(v)
			return nil
		}}
	cmd.Flags().BoolVar(&accept, "accept", false, "end the recovery now")
	return cmd
}

func (a *app) recovery(v recoveryView) {
	if v.Recovery {
		a.say("in recovery, waiting for: %s\nto go on without them: oak recover --accept", strings.Join(v.WaitingFor, ", "))
	} else {
		a.say("the root is not in recovery")
	}
	for _, u := range v.Unknown {
		a.say("runs without a record: %s on node %s of cluster %s", moveView{Service: u.Service, ID: u.ID, Number: u.Number}.name(), u.Node, u.Cluster)
	}
}

// applicationID finds an application by id, name or name.namespace.
func (c *client) applicationID(ctx context.Context, name string) (string, error) {
	var apps []applicationView
	if err := c.do(ctx, http.MethodGet, "/api/applications/", nil, &apps); err != nil {
		return "", err
	}
	var found []string
	for _, v := range apps {
		if v.ID == name {
			return v.ID, nil
		}
		if v.Name == name || v.Name+"."+v.NS == name {
			found = append(found, v.ID)
		}
	}
	return one("application", name, found)
}

// serviceByName finds a service by id, job name or short name.
func (a *app) serviceByName(ctx context.Context, name string) (*client, string, error) {
	c, err := a.signedIn(ctx)
	if err != nil {
		return nil, "", err
	}
	services, err := c.services(ctx, "")
	if err != nil {
		return nil, "", err
	}
	var found []string
	for _, v := range services {
		if v.ID == name || v.JobName == name {
			return c, v.ID, nil
		}
		if v.Name == name {
			found = append(found, v.ID)
		}
	}
	id, err := one("service", name, found)
	return c, id, err
}

func one(kind, name string, found []string) (string, error) {
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no %s %q; see: oak %ss", kind, name, map[string]string{"application": "app", "service": "service"}[kind])
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s %q is not unique, use one of the ids %s", kind, name, strings.Join(found, ", "))
}
