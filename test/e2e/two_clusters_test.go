package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/test/site"
)

// twoClusters is a site with two clusters of two workers each. Their managers
// share a machine and so an address, as two behind one NAT do.
var twoClusters = site.Config{Clusters: []site.Cluster{
	{Name: "north", Host: "managers", Workers: []string{"n1", "n2"}},
	{Name: "south", Host: "managers", Port: 10200, MQTT: 10203, Workers: []string{"s1", "s2"}},
}, Spare: []string{"n3"}}

// TestTwoClusters walks through what concerns more than one cluster, and what
// is done with workers. After every step the containers that really run are
// compared with the API.
func TestTwoClusters(t *testing.T) {
	s := site.New(t, twoClusters)
	w := &wide{Site: s}
	step := func(name string, f func(*wide)) {
		ok := t.Run(name, func(t *testing.T) {
			s.T = t
			f(w)
			s.Settled(20 * time.Second)
		})
		if s.T = t; !ok {
			t.FailNow()
		}
	}
	step("two managers behind one address are two clusters", (*wide).listed)
	step("a second live holder of a name is refused, which is an event", (*wide).secondHolder)
	step("direct names a cluster, or workers", (*wide).direct)
	step("a refusal names who was asked and the figures", (*wide).refusals)
	step("what one cluster refuses goes to the other", (*wide).failover)
	step("a client in one cluster reaches a server in the other", (*wide).across)
	step("no request fails while a worker is drained", (*wide).drain)
	step("no request fails while a new revision is rolled out", (*wide).rollout)
	step("a cordoned worker takes nothing new", (*wide).cordon)
	step("a NodeEngine that ends in the middle of creations leaves whole containers", (*wide).cutCreation)
	step("a worker without power is replaced, and cleans up after its boot", (*wide).power)
	step("a removed worker's addresses are free again", (*wide).removal)
}

type wide struct {
	*site.Site
	client, server string // ids of services
}

// part is one service of a descriptor.
type part struct {
	name, image, port, environment, constraint string
	cmd                                        []string
	memory, vcpus                              int
}

const (
	nginxImage = "docker.io/library/nginx:latest"
	curlImage  = "docker.io/curlimages/curl:7.82.0"
)

func (p part) json() string {
	cmd, _ := json.Marshal(append([]string{}, p.cmd...)) // strings always can
	environment, constraints := "[]", "[]"
	if p.environment != "" {
		environment = fmt.Sprintf("[%q]", p.environment)
	}
	if p.constraint != "" {
		constraints = "[{" + p.constraint + "}]"
	}
	return fmt.Sprintf(`{"microserviceID":"","microservice_name":%q,"microservice_namespace":"test","virtualization":"container",
"cmd":%s,"environment":%s,"memory":%d,"vcpus":%d,"storage":0,"code":%q,"port":%q,"constraints":%s}`,
		p.name, cmd, environment, p.memory, p.vcpus, p.image, p.port, constraints)
}

// create makes an application of one service and returns both ids.
func (w *wide) create(p part) (application, service string) {
	w.T.Helper()
	w.Must("POST", "/api/application/", fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"",
"application_name":%q,"application_namespace":"test","application_desc":"","microservices":[%s]}]}`, p.name, p.json()))
	var services []struct {
		site.Service
		Application string `json:"applicationID"`
	}
	if err := w.Get("/api/services/", &services); err != nil {
		w.T.Fatal(err)
	}
	for _, s := range services {
		if s.Name == p.name {
			return s.Application, s.ID
		}
	}
	w.T.Fatalf("no service %s in %+v", p.name, services)
	return "", ""
}

// scale asks for n instances and returns without waiting.
func (w *wide) scale(service string, n int) {
	w.T.Helper()
	w.Must("POST", "/api/service/"+service+"/scale", fmt.Sprintf(`{"replicas":%d}`, n))
}

// run creates a service and waits until n instances of it run.
func (w *wide) run(p part, n int) (application string, s site.Service) {
	w.T.Helper()
	application, id := w.create(p)
	w.scale(id, n)
	return application, w.WaitRunning(id, n)
}

func (w *wide) remove(application string) {
	w.T.Helper()
	w.Must("DELETE", "/api/application/"+application, "")
}

// on counts instances by worker.
func on(s site.Service) map[string]int {
	n := map[string]int{}
	for _, i := range s.Instances {
		n[i.Worker]++
	}
	return n
}

func (w *wide) wantOn(s site.Service, want map[string]int) {
	w.T.Helper()
	if got := on(s); !maps.Equal(got, want) {
		w.T.Errorf("%s runs on %v, want %v", s.Name, got, want)
	}
}

func (w *wide) listed() {
	var list []struct {
		site.ClusterView
		IP string `json:"ip"`
	}
	if err := w.Get("/api/clusters/active", &list); err != nil {
		w.T.Fatal(err)
	}
	if len(list) != 2 || list[0].ID == list[1].ID || list[0].IP != list[1].IP || list[0].ActiveNodes != 2 || list[1].ActiveNodes != 2 {
		w.T.Errorf("clusters: %+v, want two of two workers with one address", list)
	}
	nodes, err := w.Nodes()
	if err != nil {
		w.T.Fatal(err)
	}
	subnets := map[string]string{}
	for _, n := range nodes {
		if other := subnets[n.Subnet]; other != "" {
			w.T.Errorf("%s and %s have the subnet %s", n.ID, other, n.Subnet)
		}
		subnets[n.Subnet] = n.ID
		if want := w.Of(n.ID).Name; n.Cluster != want {
			w.T.Errorf("%s is in cluster %s, want %s", n.ID, n.Cluster, want)
		}
	}
}

// secondHolder starts a manager that says it is north, too.
func (w *wide) secondHolder() {
	id := w.ClusterID("north")
	thief := w.StartManager(site.Cluster{Name: "north", Host: "outside"}, "thief")
	thief.Expect() // whether it ends or tries again is its own affair
	e := w.WaitEvent("/api/cluster/"+id, 20*time.Second, "Refused", w.Lab.Host("outside").Addr)
	w.T.Logf("event: %s: %s", e.Reason, e.Message)
	thief.Stop()
	if got := w.ClusterID("north"); got != id {
		w.T.Errorf("north has the id %s, had %s", got, id)
	}
	w.WaitWorkers(time.Second, "n1", "n2")
}

func (w *wide) direct() {
	app1, s := w.run(part{name: "tosouth", image: nginxImage, memory: 20, constraint: `"type":"direct","cluster":"south"`}, 4)
	w.wantOn(s, map[string]int{"s1": 2, "s2": 2})
	app2, s := w.run(part{name: "tolist", image: nginxImage, memory: 20, constraint: `"type":"direct","cluster":"north","node":"n2; s1"`}, 3)
	w.wantOn(s, map[string]int{"n2": 3})
	app3, s := w.run(part{name: "anyofthem", image: nginxImage, memory: 20, constraint: `"type":"direct","node":"n1;n2"`}, 4)
	// n2 has more reserved already, so how many each gets is its own affair.
	if got := on(s); got["n1"]+got["n2"] != 4 || got["n1"] < got["n2"] {
		w.T.Errorf("%s runs on %v, want n1 and n2, the emptier one first", s.Name, got)
	}
	w.Settled(20 * time.Second)
	for _, app := range []string{app1, app2, app3} {
		w.remove(app)
	}
}

func (w *wide) refusals() {
	full, _ := w.run(part{name: "full", image: curlImage, cmd: []string{"sleep", "100000"}, vcpus: 7, constraint: `"type":"direct","cluster":"north"`}, 2)
	var apps []string
	for _, c := range []struct {
		name, constraint string
		memory, vcpus    int
		words            []string
	}{
		{"nocluster", `"type":"direct","cluster":"west"`, 20, 1, []string{"TargetClusterNotFound", "west"}},
		{"nonode", `"type":"direct","cluster":"south","node":"ghost"`, 20, 1, []string{"constraint 2", "ghost"}},
		{"memory", `"type":"direct","cluster":"south"`, 99999999, 1, []string{"TargetClusterNoCapacity", "memory", "south", "99999999"}},
		{"vcpus", `"type":"direct","cluster":"north"`, 20, 2, []string{"vcpus", "2 > 1"}},
		{"onenode", `"type":"direct","cluster":"north","node":"n1"`, 20, 2, []string{"vcpus", "2 > 1"}},
	} {
		app, id := w.create(part{name: c.name, image: nginxImage, memory: c.memory, vcpus: c.vcpus, constraint: c.constraint})
		apps = append(apps, app)
		w.scale(id, 1)
		w.Eventually(c.name+" says why", 20*time.Second, func() error {
			svc := w.Service(id)
			text := svc.Instances[0].Status + ": " + svc.Instances[0].Detail
			for _, word := range c.words {
				if !strings.Contains(text, word) {
					return fmt.Errorf("%q does not name %q", text, word)
				}
			}
			w.T.Logf("%s: %s", c.name, text)
			return nil
		})
	}
	for _, app := range append(apps, full) {
		w.remove(app)
	}
}

// failover takes a host port on both workers of north. The root does not know
// the ports of workers: it asks north first, since south has less room.
func (w *wide) failover() {
	ballast, _ := w.run(part{name: "ballast", image: nginxImage, memory: 20, vcpus: 3, constraint: `"type":"direct","cluster":"south"`}, 2)
	holder, _ := w.run(part{name: "holder", image: nginxImage, memory: 20, port: "7070:80", constraint: `"type":"direct","cluster":"north"`}, 2)
	app, s := w.run(part{name: "refused", image: nginxImage, memory: 20, port: "7070:80"}, 2)
	w.wantOn(s, map[string]int{"s1": 1, "s2": 1})
	for _, words := range [][]string{
		{"Assigned", "to cluster north"}, {"NoWorker", "port 2", "7070/tcp is used by another service"},
		{"Superseded", "cluster south takes over from north"}, {"Running"},
	} {
		e := w.WaitEvent("/api/service/"+s.ID, 5*time.Second, words...)
		w.T.Logf("event: %s: %s", e.Reason, e.Message)
	}
	w.Settled(20 * time.Second)
	for _, a := range []string{app, holder, ballast} {
		w.remove(a)
	}
}

// across leaves a client in north and a server with three instances in south.
func (w *wide) across() {
	_, server := w.run(part{name: "server", image: nginxImage, memory: 20, constraint: `"type":"direct","cluster":"south"`}, 3)
	_, client := w.run(part{name: "client", image: curlImage, cmd: []string{"sleep", "100000"}, constraint: `"type":"direct","cluster":"north","node":"n1"`}, 1)
	w.client, w.server = client.ID, server.ID
	load := w.load()
	time.Sleep(2 * time.Second) // of steady requests
	report, _ := w.loaded(load, 100)
	for n := range 3 {
		if !strings.Contains(report, fmt.Sprintf("server-%d ", n)) {
			w.T.Errorf("instance %d of the server took no request", n)
		}
	}
	box := w.box()
	out, err := w.Inside(box, "curl", "-sS", "-m", "5", "http://"+server.Address+"/whoami").CombinedOutput()
	if want := client.Instances[0].Address; err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), " "+want) {
		w.T.Errorf("the server saw %q (%v), want the instance address %s", out, err, want)
	}
}

// box is the client's container.
func (w *wide) box() site.Container {
	w.T.Helper()
	c, err := w.Container(w.client, 0)
	if err != nil {
		w.T.Fatal(err)
	}
	return c
}

// load asks the server 100 times per second from the client's container.
func (w *wide) load() *site.Load {
	w.T.Helper()
	// The first question waits for the table; it is not what is tested.
	url := "http://" + w.Service(w.server).Address + "/whoami"
	box := w.box()
	w.Eventually("the server answers", 10*time.Second, func() error {
		out, err := w.Inside(box, "curl", "-sS", "-m", "3", url).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return site.StartLoad(box, url, 100)
}

// loaded ends a load: at least so many requests, and none failed.
func (w *wide) loaded(l *site.Load, atLeast int) (report string, asked int) {
	w.T.Helper()
	report, asked, failed := l.Stop()
	w.T.Log(report)
	if len(failed) > 0 || asked < atLeast {
		w.T.Errorf("%d of %d requests failed, want none of at least %d: %s", len(failed), asked, atLeast, strings.Join(failed[:min(len(failed), 10)], "\n"))
	}
	return report, asked
}

func (w *wide) drain() {
	load := w.load()
	w.Must("POST", "/api/nodes/s1/drain", "")
	w.Eventually("s1 is empty", 40*time.Second, func() error {
		if live := w.Live()["s1"]; len(live) > 0 {
			return fmt.Errorf("%d containers are left: %v", len(live), slices.Collect(maps.Keys(live)))
		}
		return nil
	})
	s := w.WaitRunning(w.server, 3)
	w.wantOn(s, map[string]int{"s2": 3})
	w.WaitEvent("/api/nodes/s1", 10*time.Second, "Drained")
	w.Settled(10 * time.Second)
	w.loaded(load, 200)
	w.Must("POST", "/api/nodes/s1/uncordon", "")
}

func (w *wide) rollout() {
	load := w.load()
	before := w.ids()
	w.Must("PUT", "/api/service/"+w.server, `{"environment":["EDITION=2"]}`)
	w.Eventually("the rollout is done", 90*time.Second, func() error {
		var s struct {
			Rollout struct {
				State   string `json:"state"`
				Updated int    `json:"updated"`
				Total   int    `json:"total"`
				Message string `json:"message"`
			} `json:"rollout"`
		}
		if err := w.Get("/api/service/"+w.server, &s); err != nil {
			return err
		}
		if s.Rollout.State != "done" || s.Rollout.Total != 3 {
			return fmt.Errorf("%+v", s.Rollout)
		}
		return nil
	})
	w.Settled(20 * time.Second)
	w.loaded(load, 500)
	for id := range w.ids() {
		if _, same := before[id]; same && strings.HasPrefix(id, w.server) {
			w.T.Errorf("container %s is from before the rollout", id)
		}
	}
}

// ids are all live containers of the site by id.
func (w *wide) ids() map[string]site.Container {
	all := map[string]site.Container{}
	for _, list := range w.Live() {
		maps.Copy(all, list)
	}
	return all
}

func (w *wide) cordon() {
	w.Must("POST", "/api/nodes/n2/cordon", "")
	app, s := w.run(part{name: "cordoned", image: nginxImage, memory: 20, constraint: `"type":"direct","cluster":"north"`}, 3)
	w.wantOn(s, map[string]int{"n1": 3})
	nodes, err := w.Nodes()
	if err != nil || !nodes["n2"].Cordoned || nodes["n1"].Cordoned {
		w.T.Errorf("nodes: %v %+v, want n2 cordoned", err, nodes)
	}
	// The cluster stores it: a restart of its manager changes nothing.
	w.Managers["north"].Kill()
	w.Managers["north"].Again()
	w.WaitWorkers(30*time.Second, "n1", "n2")
	w.scale(s.ID, 4)
	w.wantOn(w.WaitRunning(s.ID, 4), map[string]int{"n1": 4})
	w.Must("POST", "/api/nodes/n2/uncordon", "")
	w.scale(s.ID, 6)
	w.wantOn(w.WaitRunning(s.ID, 6), map[string]int{"n1": 4, "n2": 2})
	w.remove(app)
}

// cutCreation ends NodeEngine just when it makes containers, once as a service
// manager does and once with -9.
func (w *wide) cutCreation() {
	app, s := w.run(part{name: "cut", image: nginxImage, memory: 20, constraint: `"type":"direct","node":"n1"`}, 1)
	engine := w.Engine["n1"]
	for round, end := range []func(){engine.Stop, engine.Kill} {
		accepted := strings.Count(engine.Log(), "attempt accepted")
		want := 3*round + 4
		w.scale(s.ID, want)
		until := time.Now().Add(10 * time.Second)
		for strings.Count(engine.Log(), "attempt accepted") == accepted && time.Now().Before(until) {
			time.Sleep(2 * time.Millisecond)
		}
		time.Sleep(30 * time.Millisecond) // the creation is on its way
		end()
		engine.Again()
		w.WaitRunning(s.ID, want)
		w.Settled(20 * time.Second)
	}
	w.remove(app)
}

func (w *wide) power() {
	s := w.Service(w.server)
	victim := s.Instances[0].Worker
	w.PowerOff(victim)
	w.Eventually("the server runs elsewhere", 40*time.Second, func() error {
		s := w.WaitRunning(w.server, 3)
		if on(s)[victim] != 0 {
			return fmt.Errorf("%v", on(s))
		}
		return nil
	})
	w.Settled(10 * time.Second)
	w.PowerOn(victim)
	w.WaitWorkers(30*time.Second, victim)
}

// removal takes n2 away for good, then brings another machine under its name.
func (w *wide) removal() {
	app, s := w.run(part{name: "stays", image: nginxImage, memory: 20, constraint: `"type":"direct","node":"n2;n1"`}, 2)
	w.wantOn(s, map[string]int{"n1": 1, "n2": 1})
	nodes, err := w.Nodes()
	if err != nil {
		w.T.Fatal(err)
	}
	subnet := nodes["n2"].Subnet
	if code, body, err := w.Curl("DELETE", "/api/nodes/n2", ""); err != nil || code != 409 || !strings.Contains(body, "not lost") {
		w.T.Errorf("removal of a live worker: %d %v %s, want 409 saying that it is not lost", code, err, body)
	}
	w.PowerOff("n2")
	w.Eventually("n2 is lost, and can be removed", 40*time.Second, func() error {
		code, body, err := w.Curl("DELETE", "/api/nodes/n2", "")
		if err != nil || code != 200 {
			return fmt.Errorf("%d %w %s", code, err, body)
		}
		return nil
	})
	w.Eventually("n2 is not listed", 5*time.Second, func() error {
		nodes, err := w.Nodes()
		if _, there := nodes["n2"]; err == nil && there {
			err = fmt.Errorf("%+v", nodes["n2"])
		}
		return err
	})
	w.wantOn(w.WaitRunning(s.ID, 2), map[string]int{"n1": 2})
	w.Settled(10 * time.Second)
	// Its subnet is the lowest that is free: whoever comes next gets it.
	w.AddWorker("north", "n3")
	w.WaitWorkers(30*time.Second, "n3")
	if nodes, err = w.Nodes(); err != nil || nodes["n3"].Subnet != subnet {
		w.T.Errorf("the next worker has the subnet %s (%v), want that of the removed one, %s", nodes["n3"].Subnet, err, subnet)
	}
	w.PowerOn("n2")
	w.WaitWorkers(30*time.Second, "n2")
	w.Eventually("n2, which still had the subnet on its disk, takes another", 10*time.Second, func() error {
		nodes, err := w.Nodes()
		if n := nodes["n2"]; err == nil && (n.Subnet == subnet || n.Subnet == "" || !n.Network) {
			err = fmt.Errorf("%+v", n)
		}
		return err
	})
	w.scale(s.ID, 4)
	if got := on(w.WaitRunning(s.ID, 4)); got["n2"] == 0 {
		w.T.Errorf("%s runs on %v, and not on n2", s.Name, got)
	}
	w.remove(app)
}
