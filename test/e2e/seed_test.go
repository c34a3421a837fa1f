package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"oakestra/test/site"
)

// TestSite walks through the life of the quick start's application on one site
// with two workers. The steps build on one another: the first failure ends it.
func TestSite(t *testing.T) {
	s := site.Start(t)
	w := &walk{Site: s}
	step := func(name string, f func(*walk)) {
		ok := t.Run(name, func(t *testing.T) {
			s.T = t
			f(w)
		})
		if s.T = t; !ok {
			t.FailNow()
		}
	}
	step("bad input is refused by name and stores nothing", (*walk).badInput)
	step("the descriptor runs unchanged, spread over both workers", (*walk).deploy)
	step("curl on one worker reaches nginx on the other by the service address", (*walk).crossNode)
	step("a taken address is refused naming its holder", (*walk).takenAddress)
	step("a service that fits nowhere says why with counts", (*walk).fitsNowhere)
	step("three instances share 300 requests evenly", (*walk).evenSpread)
	step("the published port answers from outside, the node and localhost", (*walk).hostPort)
	step("nothing stops and no flow breaks when daemons are killed", (*walk).kills)
	step("the root recovers from an emptied store", (*walk).emptiedStore)
	step("an older copy of the store stops nothing", (*walk).olderStore)
	step("no request fails while an instance is removed", (*walk).removeUnderLoad)
	step("deleting the application leaves nothing", (*walk).deleteAll)
}

type walk struct {
	*site.Site
	application string
	ids         map[string]string // service name -> id
	curlBox     site.Container
}

func (w *walk) deploy() {
	w.application, w.ids = w.DeploySeed()
	c, n := w.Service(w.ids["curl"]).Instances[0], w.Service(w.ids["nginx"]).Instances[0]
	if c.Worker == "" || c.Worker == n.Worker {
		w.T.Errorf("curl on %q, nginx on %q: want two workers", c.Worker, n.Worker)
	}
	if got := w.Service(w.ids["nginx"]).Address; got != "10.30.30.30" {
		w.T.Errorf("service address = %q, want 10.30.30.30", got)
	}
	var err error
	if w.curlBox, err = w.Container(w.ids["curl"], 0); err != nil {
		w.T.Fatal(err)
	}
}

func (w *walk) crossNode() {
	out, err := w.Inside(w.curlBox, "curl", "-sS", "-m", "10", "http://10.30.30.30/").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Welcome to nginx") {
		w.T.Fatalf("%v: %s", err, out)
	}
	// nginx and its log see the address of the curl instance, not of a worker.
	want := w.Service(w.ids["curl"]).Instances[0].Address
	out, err = w.Inside(w.curlBox, "curl", "-sS", "-m", "10", "http://10.30.30.30/whoami").CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), " "+want) || !strings.HasPrefix(want, "10.30.") {
		w.T.Errorf("nginx saw %q (%v), want the instance address %s", out, err, want)
	}
	w.Eventually("nginx's log shows the client", 10*time.Second, func() error {
		nginx := w.Service(w.ids["nginx"]).Instances[0]
		text := w.containerLog(nginx.Worker, w.ids["nginx"])
		if !strings.Contains(text, want+" - - ") {
			return fmt.Errorf("no %s in the log %q", want, text)
		}
		return nil
	})
}

// containerLog reads what NodeEngine kept of a service's output.
func (w *walk) containerLog(worker, service string) string {
	var all strings.Builder
	_ = filepath.WalkDir(w.Lab.Path(worker, "node"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "/logs/") && strings.Contains(path, service) {
			data, _ := os.ReadFile(path)
			all.Write(data)
		}
		return nil
	})
	return all.String()
}

func (w *walk) evenSpread() {
	for range 2 {
		w.Must("POST", "/api/service/"+w.ids["nginx"]+"/instance", "")
	}
	w.WaitRunning(w.ids["nginx"], 3)
	count := func() map[string]int {
		out, err := w.Inside(w.curlBox, "sh", "-c",
			"for i in $(seq 300); do curl -sS -m 5 http://10.30.30.30/whoami || echo failed; done").CombinedOutput()
		if err != nil {
			w.T.Fatalf("%v: %s", err, out)
		}
		hits := map[string]int{}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			hits[strings.Fields(line)[0]]++
		}
		return hits
	}
	// The new endpoints reach the client's worker a moment after RUNNING.
	w.Eventually("all three endpoints are in the client's table", 10*time.Second, func() error {
		out, err := w.Inside(w.curlBox, "sh", "-c", "for i in $(seq 9); do curl -sS -m 5 http://10.30.30.30/whoami; done").CombinedOutput()
		names := map[string]bool{}
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			names[strings.Fields(line + " ?")[0]] = true
		}
		if err != nil || len(names) != 3 {
			return fmt.Errorf("%w: %v", err, names)
		}
		return nil
	})
	hits := count()
	w.T.Logf("300 requests: %v", hits)
	for name, n := range hits {
		if n != 100 {
			w.T.Errorf("%s took %d of 300 requests, want 100", name, n)
		}
	}
	if len(hits) != 3 {
		w.T.Errorf("%d instances answered, want 3: %v", len(hits), hits)
	}
}

func (w *walk) hostPort() {
	nginx := w.Service(w.ids["nginx"]).Instances[0].Worker
	addr := w.Lab.Host(nginx).Addr
	for _, c := range []struct{ from, url string }{
		{"outside", "http://" + addr + ":6080/"},
		{nginx, "http://" + addr + ":6080/"},
		{nginx, "http://127.0.0.1:6080/"},
		{nginx, "http://localhost:6080/"},
	} {
		out, err := w.Lab.Host(c.from).Run("curl", "-sS", "-m", "5", "-4", c.url)
		if err != nil || !strings.Contains(out, "Welcome to nginx") {
			w.T.Errorf("%s from %s: %v %s", c.url, c.from, err, out)
		}
	}
}

// pids of all containers, sorted: the same list means nothing was restarted.
func (w *walk) pids() string {
	var list []string
	for _, c := range w.Containers() {
		list = append(list, fmt.Sprintf("%d %s", c.Pid, c.Group))
	}
	sort.Strings(list)
	return strings.Join(list, "\n")
}

// flow is one long transfer through the service address: 4 MiB at 96 KiB/s.
type flow struct {
	cmd *exec.Cmd
	out *strings.Builder
}

func (w *walk) openFlow() *flow {
	w.T.Helper()
	f := &flow{out: &strings.Builder{}}
	f.cmd = w.Inside(w.curlBox, "curl", "-sS", "-m", "180", "-o", "/dev/null", "-w", "%{size_download}", "http://10.30.30.30/slow")
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	if err := f.cmd.Start(); err != nil {
		w.T.Fatal(err)
	}
	return f
}

func (w *walk) closeFlow(f *flow) {
	w.T.Helper()
	if err := f.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		w.T.Errorf("the long transfer ended before the step did, it proves nothing: %v %s", err, f.out)
	}
	if err := f.cmd.Wait(); err != nil || strings.TrimSpace(f.out.String()) != fmt.Sprint(4<<20) {
		w.T.Errorf("the long transfer broke: %v, %s of %d bytes", err, f.out.String(), 4<<20)
	}
}

func (w *walk) kills() {
	before := w.pids()
	f := w.openFlow()
	for _, k := range []struct {
		name string
		do   func()
	}{
		{"NodeEngine w1", func() { w.Engine["w1"].Kill(); w.Engine["w1"].Again() }},
		{"NodeEngine w2", func() { w.Engine["w2"].Kill(); w.Engine["w2"].Again() }},
		{"NetManager w1", func() { w.Network["w1"].Kill(); w.Network["w1"].Again() }},
		{"NetManager w2", func() { w.Network["w2"].Kill(); w.Network["w2"].Again() }},
		{"cluster-manager", func() { w.Cluster.Kill(); w.Cluster.Again() }},
	} {
		k.do()
		w.Eventually("the service address answers after the kill of "+k.name, 15*time.Second, func() error {
			out, err := w.Inside(w.curlBox, "curl", "-sS", "-m", "3", "http://10.30.30.30/whoami").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		if after := w.pids(); after != before {
			w.T.Fatalf("after the kill of %s the containers differ:\n%s\nwant\n%s", k.name, after, before)
		}
	}
	w.Eventually("both workers are alive again", 60*time.Second, func() error {
		var nodes []site.Node
		if err := w.Get("/api/nodes/", &nodes); err != nil {
			return err
		}
		for _, n := range nodes {
			if !strings.EqualFold(n.Status, "alive") {
				return fmt.Errorf("%+v", nodes)
			}
		}
		return nil
	})
	w.WaitRunning(w.ids["nginx"], 3)
	w.WaitRunning(w.ids["curl"], 1)
	w.closeFlow(f)
	if after := w.pids(); after != before {
		w.T.Errorf("containers differ:\n%s\nwant\n%s", after, before)
	}
}

func (w *walk) emptiedStore() {
	before := w.pids()
	f := w.openFlow()
	w.Root.Kill()
	stores, err := filepath.Glob(w.Lab.Path("root", "*.db"))
	if err != nil || len(stores) == 0 {
		w.T.Fatalf("the root's store is not where it was expected: %v", err)
	}
	for _, file := range stores {
		if err := os.Remove(file); err != nil {
			w.T.Fatal(err)
		}
	}
	w.Root.Again()
	w.Login()
	// The same ids, numbers and addresses, all RUNNING, from what the cluster holds.
	nginx := w.WaitRunning(w.ids["nginx"], 3)
	w.WaitRunning(w.ids["curl"], 1)
	if nginx.Address != "10.30.30.30" {
		w.T.Errorf("service address after recovery = %q", nginx.Address)
	}
	w.closeFlow(f)
	if after := w.pids(); after != before {
		w.T.Errorf("containers differ after recovery:\n%s\nwant\n%s", after, before)
	}
	// It allocates again, and never an address that is in use.
	code, body, err := w.Curl("POST", "/api/application/", descriptorWith("again", "10.30.30.30"))
	if err != nil || code != 409 {
		w.T.Errorf("taken address after recovery: %d %v %s, want 409", code, err, body)
	}
}

// olderStore puts back a copy of the store from before an instance was
// deployed: the instance is adopted, and nothing that runs notices.
func (w *walk) olderStore() {
	stored, copied := w.Lab.Path("root", "root.db"), w.Lab.Path("older.db")
	move := func(from, to string) {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, data, 0o600)
		}
		if err != nil {
			w.T.Fatal(err)
		}
	}
	known := w.WaitRunning(w.ids["nginx"], 3)
	w.Root.Kill()
	move(stored, copied)
	w.Root.Again()
	w.Login()
	w.Must("POST", "/api/service/"+w.ids["nginx"]+"/instance", "")
	later := w.WaitRunning(w.ids["nginx"], 4)
	before := w.pids()

	w.Root.Kill()
	move(copied, stored)
	w.Root.Again()
	w.Login()
	adopted := w.WaitRunning(w.ids["nginx"], 4)
	w.WaitRunning(w.ids["curl"], 1)
	for i, in := range adopted.Instances {
		if in != later.Instances[i] {
			w.T.Errorf("instance %+v was adopted as %+v", later.Instances[i], in)
		}
	}
	if after := w.pids(); after != before {
		w.T.Errorf("containers differ with the older store:\n%s\nwant\n%s", after, before)
	}
	// Its number and its address are not given out again, and it can be ended.
	next := 1 + later.Instances[3].Number
	if answer := w.Must("POST", "/api/service/"+w.ids["nginx"]+"/instance", ""); !strings.Contains(answer, fmt.Sprintf(`"instance_number":%d`, next)) {
		w.T.Errorf("the next instance after number %d is %s", next-1, answer)
	}
	addresses := map[string]int{}
	for _, in := range w.WaitRunning(w.ids["nginx"], 5).Instances {
		addresses[in.Address]++
	}
	if len(addresses) != 5 {
		w.T.Errorf("five instances share addresses: %v", addresses)
	}
	for n := next - 1; n <= next; n++ {
		w.Must("DELETE", fmt.Sprintf("/api/service/%s/instance/%d", w.ids["nginx"], n), "")
	}
	w.WaitRunning(w.ids["nginx"], len(known.Instances))
}

func (w *walk) removeUnderLoad() {
	stream := w.Inside(w.curlBox, "sh", "-c",
		`ask() { curl -sS -m 5 -o /dev/null -w '%{http_code}\n' http://10.30.30.30/whoami || echo failed; }
while [ ! -e /tmp/stop ]; do ask; done; rm /tmp/stop; for i in $(seq 50); do ask; done`)
	var out strings.Builder
	stream.Stdout, stream.Stderr = &out, &out
	if err := stream.Start(); err != nil {
		w.T.Fatal(err)
	}
	w.Must("DELETE", "/api/service/"+w.ids["nginx"]+"/instance/1", "")
	w.WaitRunning(w.ids["nginx"], 2)
	w.Eventually("the container is gone", 30*time.Second, func() error {
		if c, err := w.Container(w.ids["nginx"], 1); err == nil {
			return fmt.Errorf("still runs: %+v", c)
		}
		return nil
	})
	if o, err := w.Inside(w.curlBox, "sh", "-c", ": >/tmp/stop").CombinedOutput(); err != nil {
		w.T.Fatalf("%v %s", err, o)
	}
	if err := stream.Wait(); err != nil {
		w.T.Errorf("stream: %v", err)
	}
	lines := strings.Fields(out.String())
	bad := 0
	for _, l := range lines {
		if l != "200" {
			bad++
		}
	}
	w.T.Logf("%d requests during the removal, %d failed", len(lines), bad)
	if bad > 0 || len(lines) <= 50 {
		w.T.Errorf("%d of %d requests failed: %.400s", bad, len(lines), out.String())
	}
}

func (w *walk) deleteAll() {
	w.Must("DELETE", "/api/application/"+w.application, "")
	w.Eventually("all containers are gone", 60*time.Second, func() error {
		if left := w.Containers(); len(left) > 0 {
			return fmt.Errorf("%+v", left)
		}
		return nil
	})
	var services []site.Service
	if err := w.Get("/api/services/", &services); err != nil || len(services) != 0 {
		w.T.Errorf("services left: %v %+v", err, services)
	}
	for _, name := range w.Workers() {
		h := w.Lab.Host(name)
		w.Eventually("no veth and no rule of a service on "+name, 30*time.Second, func() error {
			links, err := h.Run("ip", "-brief", "link", "show", "type", "veth")
			if err != nil {
				return err
			}
			if n := strings.Count(links, "\n"); n != 1 { // eth0 of the lab
				return fmt.Errorf("links: %s", links)
			}
			rules, err := h.Run("nft", "-s", "list", "ruleset") // without counters: their digits are no ports
			if err != nil {
				return err
			}
			if strings.Contains(rules, "10.30.30.30") || strings.Contains(rules, "6080") {
				return fmt.Errorf("rules: %s", rules)
			}
			return nil
		})
	}
}
