package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
)

// Site is a running system: root, one cluster, two workers, a registry and a
// machine outside.
type Site struct {
	T       testing.TB // of the running step; failures go there
	Lab     *netlab.Lab
	Token   string
	Root    *netlab.Process
	Cluster *netlab.Process
	Engine  map[string]*netlab.Process // by worker
	Network map[string]*netlab.Process // by worker

	bin        string
	registries string
}

// Workers are the names of the two workers.
var Workers = []string{"w1", "w2"}

// Binaries builds the programs, or takes them from OAK_BIN, and returns their
// directory.
func Binaries(t testing.TB) string {
	t.Helper()
	requireRoot(t)
	if dir := os.Getenv("OAK_BIN"); dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("/tmp", "oaklab-bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/system-manager", "./cmd/cluster-manager",
		"./cmd/NodeEngine", "./cmd/NetManager", "./cmd/oak", "./test/images/demo-registry")
	if go_ := os.Getenv("GO"); go_ != "" {
		cmd.Path, cmd.Err = go_, nil
	}
	cmd.Dir = repository(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func requireRoot(t testing.TB) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, tool := range []string{"containerd", "runc", "iptables", "ip", "nsenter", "curl", "nft", "conntrack"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) == 0 {
		return
	}
	message := fmt.Sprintf("needs %s; run: sudo make test", strings.Join(missing, ", "))
	if os.Getenv("OAK_TEST_REQUIRE") != "" {
		t.Fatal(message)
	}
	t.Skip("SKIPPED: " + message)
}

// Start brings the whole site up and waits until both workers take instances.
func Start(t testing.TB) *Site {
	t.Helper()
	s := &Site{T: t, bin: Binaries(t), Engine: map[string]*netlab.Process{}, Network: map[string]*netlab.Process{}}
	s.Lab = netlab.New(t, netlab.Config{Hosts: []string{"root", "site", "w1", "w2", "outside"}})
	t.Cleanup(s.purge)
	s.registries = Registry(t, s.Lab, s.bin, "root")
	s.StartRoot()
	s.Cluster = s.Lab.Host("site").Start(t, netlab.Program{Path: s.Program("cluster-manager"),
		Args: []string{"-data", s.Lab.Path("cluster")},
		Env:  []string{"SYSTEM_MANAGER_URL= http://" + s.Lab.Host("root").Addr + " ", "CLUSTER_NAME=field", "CLUSTER_LOCATION=48.1,11.5,1000"}})
	for _, w := range Workers {
		s.startWorker(w)
	}
	s.Login()
	s.Eventually("both workers with their overlay are listed", 60*time.Second, func() error {
		var nodes []Node
		if err := s.Get("/api/nodes/", &nodes); err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes {
			if n.Subnet != "" && n.Network {
				ready++
			}
		}
		if ready != len(Workers) {
			return fmt.Errorf("%d of %d: %+v", ready, len(Workers), nodes)
		}
		return nil
	})
	return s
}

// Program is the path of one of the built programs.
func (s *Site) Program(name string) string { return filepath.Join(s.bin, name) }

// Registry serves the quick start's images on a host of the lab and returns a
// file of registry mirrors that leads there.
func Registry(t testing.TB, lab *netlab.Lab, bin, host string) (file string) {
	t.Helper()
	program, ready := filepath.Join(bin, "demo-registry"), lab.Path("registry-ready")
	addr := lab.Host(host).Addr + ":5555"
	// Packages are fetched by the machine itself: the lab has no way out.
	cache := filepath.Join(repository(t), "build", "images")
	warm := exec.Command(program, "-listen", "127.0.0.1:0", "-cache", cache, "-ready", ready)
	if err := warm.Start(); err != nil {
		t.Fatal(err)
	}
	exists := func() error { _, err := os.Stat(ready); return err }
	eventually(t, "the images are built", 4*time.Minute, exists)
	_ = warm.Process.Kill()
	_ = warm.Wait()
	_ = os.Remove(ready)
	registry := lab.Host(host).Start(t, netlab.Program{Path: program, Args: []string{"-listen", addr, "-cache", cache, "-ready", ready}})
	t.Cleanup(registry.Stop)
	eventually(t, "the registry serves", time.Minute, exists)
	file = lab.Path("registries.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"registries":{"docker.io":{"mirrors":["http://%s"]}}}`, addr), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// StartRoot runs the root on its machine.
func (s *Site) StartRoot() {
	s.Root = s.Lab.Host("root").Start(s.T, netlab.Program{Path: s.Program("system-manager"),
		Args: []string{"-data", s.Lab.Path("root")}})
}

// startWorker runs the two agents as the README says, with a private containerd.
func (s *Site) startWorker(w string) {
	h := s.Lab.Host(w)
	s.Network[w] = h.Start(s.T, netlab.Program{Path: s.Program("NetManager"),
		Args: []string{"-p", "6000", "-data", s.Lab.Path(w, "net")}})
	s.Engine[w] = h.Start(s.T, netlab.Program{Path: s.Program("NodeEngine"),
		Args: []string{"-a", s.Lab.Host("site").Addr, "-p", "10100", "-n", "6000", "-vcpus", "8", "-name", w,
			"-data", s.Lab.Path(w, "node"), "-containerd", "managed", "-registries", s.registries}})
}

// purge removes what the workers made, with the programs' own commands, before
// the lab sweeps the rest.
func (s *Site) purge() {
	for _, w := range Workers {
		if s.Engine[w] == nil {
			continue
		}
		s.Engine[w].Stop()
		s.Network[w].Stop()
		h := s.Lab.Host(w)
		if out, err := h.Run(s.Program("NodeEngine"), "purge", "-data", s.Lab.Path(w, "node"), "-containerd", "managed"); err != nil {
			s.T.Errorf("purge: %v %s", err, out)
		}
		if out, err := h.Run(s.Program("NetManager"), "purge", "-data", s.Lab.Path(w, "net")); err != nil {
			s.T.Errorf("purge: %v %s", err, out)
		}
		s.assertNothingLeft(w)
	}
	s.Cluster.Stop()
	s.Root.Stop()
}

// assertNothingLeft looks for links, rules and mounts after a purge.
func (s *Site) assertNothingLeft(w string) {
	h := s.Lab.Host(w)
	links, _ := h.Run("ip", "-brief", "link")
	if strings.Contains(links, "oak") || strings.Contains(links, "veth") {
		s.T.Errorf("%s: links are left:\n%s", w, links)
	}
	for _, list := range [][]string{{"iptables-save"}, {"nft", "list", "tables"}} {
		out, err := h.Run(list[0], list[1:]...)
		if err == nil && strings.Contains(strings.ToLower(out), "oak") {
			s.T.Errorf("%s: %s still has:\n%s", w, strings.Join(list, " "), out)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), s.Lab.Path(w)+"/") {
		s.T.Errorf("%s: mounts are left below %s", w, s.Lab.Path(w))
	}
}

// Eventually repeats a check until it holds, or fails with its last error.
func (s *Site) Eventually(what string, within time.Duration, check func() error) {
	s.T.Helper()
	eventually(s.T, what, within, check)
}

func eventually(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %s: %v", within, what, err)
}

// --- the API, by curl, from the machine outside -----------------------------

// Node is a worker as the API lists it.
type Node struct {
	ID      string `json:"id"`
	Subnet  string `json:"subnet"`
	Network bool   `json:"network"`
	Status  string `json:"status"`
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
	Address string `json:"instance_ip"`
}

// Curl runs curl on the machine outside and returns status code and body.
func (s *Site) Curl(method, path, body string) (int, string, error) {
	args := []string{"-sS", "-m", "20", "-X", method, "-w", "\n%{http_code}", "-H", "Content-Type: application/json"}
	if s.Token != "" {
		args = append(args, "-H", "Authorization: Bearer "+s.Token)
	}
	if body != "" {
		file := s.Lab.Path("body.json")
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			return 0, "", err
		}
		args = append(args, "--data-binary", "@"+file)
	}
	out, err := s.Lab.Host("outside").Run("curl", append(args, "http://"+s.Lab.Host("root").Addr+":10000"+path)...)
	if err != nil {
		return 0, out, err
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

// --- containers, as the kernel shows them -------------------------------------

// Container is a running container of ours on a worker.
type Container struct {
	Pid    int
	Worker string
	Group  string // its cgroup path, which holds node and attempt
}

// ErrGone says that no such container runs.
var ErrGone = errors.New("no such container")

// Containers lists the first process of every container of the site.
func (s *Site) Containers() []Container { return ContainersOf(Workers...) }

// ContainersOf lists the first process of every container of some workers, by
// their cgroups. A process that moved to a nested group is not listed twice.
func ContainersOf(workers ...string) []Container {
	entries, _ := os.ReadDir("/proc")
	seen := map[string]bool{}
	var list []Container
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cgroup")
		if err != nil {
			continue // it has ended
		}
		for _, line := range strings.Split(string(data), "\n") {
			_, path, ok := strings.Cut(line, "/oakestra/")
			if !ok {
				continue
			}
			worker, _, _ := strings.Cut(path, "/")
			if !seen[path] && slices.Contains(workers, worker) {
				seen[path] = true
				list = append(list, Container{Pid: pid, Worker: worker, Group: path})
			}
			break
		}
	}
	return list
}

// Container finds the container of a service's instance.
func (s *Site) Container(serviceID string, number int) (Container, error) {
	for _, c := range s.Containers() {
		if strings.Contains(c.Group, fmt.Sprintf("%s-%d-", serviceID, number)) {
			return c, nil
		}
	}
	return Container{}, fmt.Errorf("%s/%d: %w", serviceID, number, ErrGone)
}

// Inside runs a program of the container's image inside the container.
func (s *Site) Inside(c Container, args ...string) *exec.Cmd {
	all := append([]string{"-t", strconv.Itoa(c.Pid), "-m", "-n", "-p", "-u", "-r", "--"}, args...)
	return exec.Command("nsenter", all...)
}
