package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"oakestra/pkg/errs"
)

// api is the root as its users see it.
type api struct {
	address string
	token   string
	since   time.Time // of the token
	http    http.Client
}

func newAPI(address string) *api {
	return &api{address: address, http: http.Client{Timeout: 2 * time.Minute}}
}

// do sends one request, logged in as the first user of a fresh root.
func (a *api) do(ctx context.Context, method, path string, body, answer any) error {
	if time.Since(a.since) > 5*time.Minute { // logins end after 10
		var login struct {
			Token string `json:"token"`
		}
		a.token = ""
		if err := a.send(ctx, http.MethodPost, "/api/auth/login", map[string]string{"username": "Admin", "password": "Admin"}, &login); err != nil {
			return err
		}
		a.token, a.since = login.Token, time.Now()
	}
	return a.send(ctx, method, path, body, answer)
}

func (a *api) send(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("root: %w: %w", err, errs.Unavailable)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return fmt.Errorf("root: %w: %w", err, errs.Unavailable)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("root: %s %s: %s %s: %w", method, path, resp.Status, data[:min(len(data), 300)], errs.Unavailable)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(data, answer)
}

// application is what a deploy step made.
type application struct {
	id       string
	services []string
	slots    []string // every wanted instance, as swarm.Slot names it
}

// deploy creates one application.
func (a *api) deploy(ctx context.Context, number int, step Step, onClusterLoss string) (application, error) {
	var services []map[string]any
	each := make([]int, step.Services)
	for i := range each {
		each[i] = step.Instances / step.Services
		if i < step.Instances%step.Services {
			each[i]++
		}
		services = append(services, map[string]any{
			"microservice_name": fmt.Sprintf("s%d", i), "microservice_namespace": "sim", "virtualization": "container",
			"memory": 16, "vcpus": 0, "code": "docker.io/library/simulated:latest", "cmd": []string{}, "replicas": each[i],
			"on_cluster_loss": onClusterLoss,
		})
	}
	name := fmt.Sprintf("sim%d", number)
	descriptor := map[string]any{"sla_version": "v2.0", "customerID": "Admin", "applications": []any{map[string]any{
		"applicationID": "", "application_name": name, "application_namespace": "sim", "application_desc": "simulated", "microservices": services,
	}}}
	var answer struct {
		Created []struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
			ID   string `json:"id"`
		} `json:"created"`
	}
	var out application
	if err := a.do(ctx, http.MethodPost, "/api/apply", descriptor, &answer); err != nil {
		return out, err
	}
	for _, c := range answer.Created {
		if c.Kind == "application" {
			out.id = c.ID
			continue
		}
		i, err := strconv.Atoi(strings.TrimPrefix(strings.Split(c.Name, ".")[2], "s"))
		if err != nil || i >= len(each) {
			return out, fmt.Errorf("root: unexpected service %q: %w", c.Name, errs.Internal)
		}
		out.services = append(out.services, c.ID)
		for n := range each[i] {
			out.slots = append(out.slots, c.ID+"/"+strconv.Itoa(n))
		}
	}
	return out, nil
}

func (a *api) undeploy(ctx context.Context, app application) error {
	return a.do(ctx, http.MethodDelete, "/api/application/"+app.id, nil, nil)
}

// ages reads one service and says how old each instance's state is, ms.
// Simulated containers say the time of their report as their disk.
func (a *api) ages(ctx context.Context, service string) ([]float64, error) {
	var v struct {
		Instances []struct {
			Disk string `json:"disk"`
		} `json:"instance_list"`
	}
	if err := a.do(ctx, http.MethodGet, "/api/service/"+service, nil, &v); err != nil {
		return nil, err
	}
	now := float64(time.Now().UnixMilli())
	var out []float64
	for _, i := range v.Instances {
		if at, err := strconv.ParseFloat(i.Disk, 64); err == nil && at > 0 {
			out = append(out, now-at)
		}
	}
	return out, nil
}

// seen is what the root counts.
type seen struct {
	nodes     map[string]int // by liveness
	instances map[string]int // wanted ones by status
}

// metrics reads the root's counts.
func (a *api) metrics(ctx context.Context) (seen, error) {
	out := seen{map[string]int{}, map[string]int{}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.address+"/metrics", nil)
	if err != nil {
		return out, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return out, fmt.Errorf("root: %w: %w", err, errs.Unavailable)
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		for prefix, into := range map[string]map[string]int{`oakestra_nodes{status="`: out.nodes, `oakestra_instances{status="`: out.instances} {
			rest, ok := strings.CutPrefix(s.Text(), prefix)
			if !ok {
				continue
			}
			word, number, _ := strings.Cut(rest, `"} `)
			v, _ := strconv.ParseFloat(number, 64)
			into[word] = int(v)
		}
	}
	return out, nil
}
