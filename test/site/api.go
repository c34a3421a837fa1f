package site

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Node is a worker as the API lists it.
type Node struct {
	ID        string `json:"id"`
	Cluster   string `json:"cluster_name"`
	Subnet    string `json:"subnet"`
	Network   bool   `json:"network"`
	Status    string `json:"status"`
	Cordoned  bool   `json:"cordoned"`
	Draining  bool   `json:"draining"`
	Instances []struct {
		Service string `json:"microserviceID"`
		Number  int    `json:"instance_number"`
	} `json:"instances"`
}

// ClusterView is a cluster as the API lists it.
type ClusterView struct {
	ID          string `json:"_id"`
	Name        string `json:"cluster_name"`
	Active      bool   `json:"active"`
	ActiveNodes int    `json:"active_nodes"`
}

// Event as the API lists it.
type Event struct {
	Kind    string `json:"kind"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// Service as the API shows it.
type Service struct {
	ID        string     `json:"microserviceID"`
	Name      string     `json:"microservice_name"`
	JobName   string     `json:"job_name"`
	Address   string     `json:"RR_ip"`
	Status    string     `json:"status"`
	Detail    string     `json:"status_detail"`
	Instances []Instance `json:"instance_list"`
}

// Instance as the API shows it.
type Instance struct {
	Number  int    `json:"instance_number"`
	Status  string `json:"status"`
	Detail  string `json:"status_detail"`
	Worker  string `json:"worker_id"`
	Cluster string `json:"cluster_name"`
	Address string `json:"instance_ip"`
}

// Curl runs curl on the machine outside and returns status code and body.
func (s *Site) Curl(method, path, body string) (int, string, error) {
	args := []string{"-sS", "-m", "20", "-X", method, "-w", "\n%{http_code}", "-H", "Content-Type: application/json"}
	if s.Token != "" {
		args = append(args, "-H", "Authorization: Bearer "+s.Token)
	}
	if body != "" {
		args = append(args, "--data-binary", "@-")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := s.Lab.Host("outside").Command(ctx, "curl", append(args, "http://"+s.Lab.Host("root").Addr+":10000"+path)...)
	cmd.Stdin = strings.NewReader(body)
	data, err := cmd.CombinedOutput()
	out := string(data)
	if err != nil {
		return 0, out, fmt.Errorf("%s %s: %w: %s", method, path, err, out)
	}
	cut := strings.LastIndex(out, "\n")
	code, err := strconv.Atoi(out[cut+1:])
	return code, out[:cut], err
}

// Get reads a route of the root into a value.
func (s *Site) Get(path string, into any) error {
	code, body, err := s.Curl("GET", path, "")
	if err != nil {
		return err
	}
	if code != 200 {
		return fmt.Errorf("GET %s: %d %s", path, code, body)
	}
	return json.Unmarshal([]byte(body), into)
}

// Must calls the root and fails unless it answers 200.
func (s *Site) Must(method, path, body string) string {
	s.T.Helper()
	code, answer, err := s.Curl(method, path, body)
	if err != nil || code != 200 {
		s.T.Fatalf("%s %s: %d %v %s", method, path, code, err, answer)
	}
	return answer
}

// Login gets a token of the default admin.
func (s *Site) Login() {
	s.T.Helper()
	s.Token = ""
	s.Eventually("login", 30*time.Second, func() error {
		code, body, err := s.Curl("POST", "/api/auth/login", `{"username":"Admin","password":"Admin"}`)
		if err != nil || code != 200 {
			return fmt.Errorf("%d %w %s", code, err, body)
		}
		var answer struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			return err
		}
		s.Token = answer.Token
		return nil
	})
}

// DeploySeed posts the descriptor as it is and one instance per service.
func (s *Site) DeploySeed() (application string, services map[string]string) {
	s.T.Helper()
	descriptor, err := os.ReadFile(filepath.Join(repository(s.T), "deploy", "deploy_curl_application.json"))
	if err != nil {
		s.T.Fatal(err)
	}
	var apps []struct {
		ID   string `json:"applicationID"`
		Name string `json:"application_name"`
	}
	if err := json.Unmarshal([]byte(s.Must("POST", "/api/application/", string(descriptor))), &apps); err != nil {
		s.T.Fatal(err)
	}
	for _, a := range apps {
		if a.Name == "clientsrvr" {
			application = a.ID
		}
	}
	var list []Service
	if err := s.Get("/api/services/"+application, &list); err != nil {
		s.T.Fatal(err)
	}
	services = map[string]string{}
	for _, svc := range list {
		services[svc.Name] = svc.ID
		s.Must("POST", "/api/service/"+svc.ID+"/instance", "")
		// One after the other, so that they spread over the workers.
		s.WaitRunning(svc.ID, 1)
	}
	return application, services
}

// Service reads one service.
func (s *Site) Service(id string) Service {
	s.T.Helper()
	var svc Service
	if err := s.Get("/api/service/"+id, &svc); err != nil {
		s.T.Fatal(err)
	}
	return svc
}

// WaitRunning waits until exactly n instances are listed and all run.
func (s *Site) WaitRunning(id string, n int) Service {
	s.T.Helper()
	var svc Service
	s.Eventually(fmt.Sprintf("%d running instances of %s", n, id), 90*time.Second, func() error {
		if err := s.Get("/api/service/"+id, &svc); err != nil {
			return err
		}
		running := 0
		for _, i := range svc.Instances {
			if i.Status == "RUNNING" {
				running++
			}
		}
		if running != n || len(svc.Instances) != n {
			return fmt.Errorf("%d of %d run: %+v", running, len(svc.Instances), svc)
		}
		return nil
	})
	return svc
}

// Nodes lists the workers of all clusters.
func (s *Site) Nodes() (map[string]Node, error) {
	var list []Node
	if err := s.Get("/api/nodes/", &list); err != nil {
		return nil, err
	}
	out := map[string]Node{}
	for _, n := range list {
		out[n.ID] = n
	}
	return out, nil
}

// ClusterID is the id of a cluster by its name.
func (s *Site) ClusterID(name string) string {
	s.T.Helper()
	var list []ClusterView
	if err := s.Get("/api/clusters/", &list); err != nil {
		s.T.Fatal(err)
	}
	for _, c := range list {
		if c.Name == name {
			return c.ID
		}
	}
	s.T.Fatalf("no cluster %q in %+v", name, list)
	return ""
}

// Events reads the events below a route, such as /api/service/<id>.
func (s *Site) Events(of string) []Event {
	s.T.Helper()
	var list []Event
	if err := s.Get(of+"/events", &list); err != nil {
		s.T.Fatal(err)
	}
	return list
}

// WaitEvent waits for an event whose reason and message hold all the words.
func (s *Site) WaitEvent(of string, within time.Duration, words ...string) Event {
	s.T.Helper()
	var found Event
	s.Eventually(fmt.Sprintf("an event of %s with %q", of, words), within, func() error {
		var list []Event
		if err := s.Get(of+"/events", &list); err != nil {
			return err
		}
	next:
		for _, e := range list {
			for _, w := range words {
				if !strings.Contains(e.Reason+" "+e.Message, w) {
					continue next
				}
			}
			found = e
			return nil
		}
		return fmt.Errorf("only %+v", list)
	})
	return found
}
