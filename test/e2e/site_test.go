package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
)

// site is a running system: root, one cluster, two workers, a registry and a
// machine outside.
type site struct {
	t        *testing.T
	lab      *netlab.Lab
	bin      string
	token    string
	root     *netlab.Process
	cluster  *netlab.Process
	engine   map[string]*netlab.Process
	network  map[string]*netlab.Process
	registry *netlab.Process
}

var workers = []string{"w1", "w2"}

// binaries builds the programs once per run.
func binaries(t *testing.T) string {
	t.Helper()
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

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func requireRoot(t *testing.T) {
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

// start brings the whole site up and waits until both workers take instances.
func start(t *testing.T) *site {
	t.Helper()
	requireRoot(t)
	s := &site{t: t, bin: binaries(t), engine: map[string]*netlab.Process{}, network: map[string]*netlab.Process{}}
	s.lab = netlab.New(t, netlab.Config{Hosts: []string{"root", "site", "w1", "w2", "outside"}})
	t.Cleanup(s.purge)
	s.startRegistry()
	s.startRoot()
	s.cluster = s.lab.Host("site").Start(t, netlab.Program{Path: s.program("cluster-manager"),
		Args: []string{"-data", s.lab.Path("cluster")},
		Env:  []string{"SYSTEM_MANAGER_URL= http://" + s.lab.Host("root").Addr + " ", "CLUSTER_NAME=field", "CLUSTER_LOCATION=48.1,11.5,1000"}})
	for _, w := range workers {
		s.startWorker(w)
	}
	s.login()
	s.eventually("both workers with their overlay are listed", 60*time.Second, func() error {
		var nodes []node
		if err := s.get("/api/nodes/", &nodes); err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes {
			if n.Subnet != "" && n.Network {
				ready++
			}
		}
		if ready != len(workers) {
			return fmt.Errorf("%d of %d: %+v", ready, len(workers), nodes)
		}
		return nil
	})
	return s
}

func (s *site) program(name string) string { return filepath.Join(s.bin, name) }

func (s *site) startRegistry() {
	s.t.Helper()
	addr := s.lab.Host("root").Addr + ":5555"
	file := s.lab.Path("registry-ready")
	// Packages are fetched by the machine itself: the lab has no way out.
	cache := filepath.Join(repository(s.t), "build", "images")
	warm := exec.Command(s.program("demo-registry"), "-listen", "127.0.0.1:0", "-cache", cache, "-ready", file)
	if err := warm.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the images are built", 4*time.Minute, func() error { _, err := os.Stat(file); return err })
	_ = warm.Process.Kill()
	_ = warm.Wait()
	_ = os.Remove(file)
	s.registry = s.lab.Host("root").Start(s.t, netlab.Program{Path: s.program("demo-registry"),
		Args: []string{"-listen", addr, "-cache", cache, "-ready", file}})
	s.eventually("the registry serves", time.Minute, func() error { _, err := os.Stat(file); return err })
	config := fmt.Sprintf(`{"registries":{"docker.io":{"mirrors":["http://%s"]}}}`, addr)
	if err := os.WriteFile(s.lab.Path("registries.json"), []byte(config), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) startRoot() {
	s.root = s.lab.Host("root").Start(s.t, netlab.Program{Path: s.program("system-manager"),
		Args: []string{"-data", s.lab.Path("root")}})
}

// startWorker runs the two agents as the README says, with a private containerd.
func (s *site) startWorker(w string) {
	h := s.lab.Host(w)
	s.network[w] = h.Start(s.t, netlab.Program{Path: s.program("NetManager"),
		Args: []string{"-p", "6000", "-data", s.lab.Path(w, "net")}})
	s.engine[w] = h.Start(s.t, netlab.Program{Path: s.program("NodeEngine"),
		Args: []string{"-a", s.lab.Host("site").Addr, "-p", "10100", "-n", "6000", "-vcpus", "8", "-name", w,
			"-data", s.lab.Path(w, "node"), "-containerd", "managed", "-registries", s.lab.Path("registries.json")}})
}

// purge removes what the workers made, with the programs' own commands, before
// the lab sweeps the rest.
func (s *site) purge() {
	for _, w := range workers {
		if s.engine[w] == nil {
			continue
		}
		s.engine[w].Stop()
		s.network[w].Stop()
		h := s.lab.Host(w)
		if out, err := h.Run(s.program("NodeEngine"), "purge", "-data", s.lab.Path(w, "node"), "-containerd", "managed"); err != nil {
			s.t.Errorf("purge: %v %s", err, out)
		}
		if out, err := h.Run(s.program("NetManager"), "purge", "-data", s.lab.Path(w, "net")); err != nil {
			s.t.Errorf("purge: %v %s", err, out)
		}
		s.assertNothingLeft(w)
	}
	s.cluster.Stop()
	s.root.Stop()
	s.registry.Stop()
}

// assertNothingLeft looks for links, rules and mounts after a purge.
func (s *site) assertNothingLeft(w string) {
	h := s.lab.Host(w)
	links, _ := h.Run("ip", "-brief", "link")
	if strings.Contains(links, "oak") || strings.Contains(links, "veth") {
		s.t.Errorf("%s: links are left:\n%s", w, links)
	}
	for _, list := range [][]string{{"iptables-save"}, {"nft", "list", "tables"}} {
		out, err := h.Run(list[0], list[1:]...)
		if err == nil && strings.Contains(strings.ToLower(out), "oak") {
			s.t.Errorf("%s: %s still has:\n%s", w, strings.Join(list, " "), out)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), s.lab.Path(w)+"/") {
		s.t.Errorf("%s: mounts are left below %s", w, s.lab.Path(w))
	}
}

func (s *site) eventually(what string, within time.Duration, check func() error) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	s.t.Fatalf("not within %s: %s: %v", within, what, err)
}

// --- the API, by curl, from the machine outside -----------------------------

type node struct {
	ID      string `json:"id"`
	Subnet  string `json:"subnet"`
	Network bool   `json:"network"`
	Status  string `json:"status"`
}

type service struct {
	ID        string     `json:"microserviceID"`
	Name      string     `json:"microservice_name"`
	JobName   string     `json:"job_name"`
	Address   string     `json:"RR_ip"`
	Status    string     `json:"status"`
	Detail    string     `json:"status_detail"`
	Instances []instance `json:"instance_list"`
}

type instance struct {
	Number  int    `json:"instance_number"`
	Status  string `json:"status"`
	Detail  string `json:"status_detail"`
	Worker  string `json:"worker_id"`
	Address string `json:"instance_ip"`
}

// curl runs curl on the machine outside and returns status code and body.
func (s *site) curl(method, path, body string) (int, string, error) {
	args := []string{"-sS", "-m", "20", "-X", method, "-w", "\n%{http_code}", "-H", "Content-Type: application/json"}
	if s.token != "" {
		args = append(args, "-H", "Authorization: Bearer "+s.token)
	}
	if body != "" {
		file := s.lab.Path("body.json")
		if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
			return 0, "", err
		}
		args = append(args, "--data-binary", "@"+file)
	}
	out, err := s.lab.Host("outside").Run("curl", append(args, "http://"+s.lab.Host("root").Addr+":10000"+path)...)
	if err != nil {
		return 0, out, err
	}
	cut := strings.LastIndex(out, "\n")
	code, err := strconv.Atoi(out[cut+1:])
	return code, out[:cut], err
}

func (s *site) get(path string, into any) error {
	code, body, err := s.curl("GET", path, "")
	if err != nil {
		return err
	}
	if code != 200 {
		return fmt.Errorf("GET %s: %d %s", path, code, body)
	}
	return json.Unmarshal([]byte(body), into)
}

func (s *site) must(method, path, body string) string {
	s.t.Helper()
	code, answer, err := s.curl(method, path, body)
	if err != nil || code != 200 {
		s.t.Fatalf("%s %s: %d %v %s", method, path, code, err, answer)
	}
	return answer
}

func (s *site) login() {
	s.t.Helper()
	s.token = ""
	s.eventually("login", 30*time.Second, func() error {
		code, body, err := s.curl("POST", "/api/auth/login", `{"username":"Admin","password":"Admin"}`)
		if err != nil || code != 200 {
			return fmt.Errorf("%d %w %s", code, err, body)
		}
		var answer struct {
			Token string `json:"token"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			return err
		}
		s.token = answer.Token
		return nil
	})
}

// deploySeed posts the descriptor as it is and one instance per service.
func (s *site) deploySeed() (application string, services map[string]string) {
	s.t.Helper()
	descriptor, err := os.ReadFile(filepath.Join(repository(s.t), "deploy", "deploy_curl_application.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	var apps []struct {
		ID   string `json:"applicationID"`
		Name string `json:"application_name"`
	}
	if err := json.Unmarshal([]byte(s.must("POST", "/api/application/", string(descriptor))), &apps); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range apps {
		if a.Name == "clientsrvr" {
			application = a.ID
		}
	}
	var list []service
	if err := s.get("/api/services/"+application, &list); err != nil {
		s.t.Fatal(err)
	}
	services = map[string]string{}
	for _, svc := range list {
		services[svc.Name] = svc.ID
		s.must("POST", "/api/service/"+svc.ID+"/instance", "")
		// One after the other, so that they spread over the workers.
		s.waitRunning(svc.ID, 1)
	}
	return application, services
}

func (s *site) service(id string) service {
	s.t.Helper()
	var svc service
	if err := s.get("/api/service/"+id, &svc); err != nil {
		s.t.Fatal(err)
	}
	return svc
}

// waitRunning waits until exactly n instances are listed and all run.
func (s *site) waitRunning(id string, n int) service {
	s.t.Helper()
	var svc service
	s.eventually(fmt.Sprintf("%d running instances of %s", n, id), 90*time.Second, func() error {
		if err := s.get("/api/service/"+id, &svc); err != nil {
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

// container is a running container of ours on a worker.
type container struct {
	Pid    int
	Worker string
	Group  string // its cgroup path, which holds node and attempt
}

var errGone = errors.New("no such container")

// containers lists the first process of every container, by its cgroup.
func (s *site) containers() []container {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		s.t.Fatal(err)
	}
	seen := map[string]bool{}
	var list []container
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cgroup")
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			_, path, ok := strings.Cut(line, "/oakestra/")
			if !ok || seen[path] {
				continue
			}
			for _, w := range workers {
				if strings.Contains("/"+path+"/", "/"+w+"/") {
					seen[path] = true
					list = append(list, container{Pid: pid, Worker: w, Group: path})
				}
			}
			break
		}
	}
	return list
}

// container finds the container of a service's instance.
func (s *site) container(serviceID string, number int) (container, error) {
	for _, c := range s.containers() {
		if strings.Contains(c.Group, fmt.Sprintf("%s-%d-", serviceID, number)) {
			return c, nil
		}
	}
	return container{}, fmt.Errorf("%s/%d: %w", serviceID, number, errGone)
}

// inside runs a program of the container's image inside the container.
func (s *site) inside(c container, args ...string) *exec.Cmd {
	all := append([]string{"-t", strconv.Itoa(c.Pid), "-m", "-n", "-p", "-u", "-r", "--"}, args...)
	return exec.Command("nsenter", all...)
}
