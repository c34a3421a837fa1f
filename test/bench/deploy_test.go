package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"

	managed "oakestra/node/runtime/containerd"
	"oakestra/test/site"
)

const rounds = 15

// BenchmarkDeploy compares, round by round on the same worker and image: a
// POST of an instance until its process executes, with placement, store,
// broker and overlay, and containerd's own create + start without any of it.
func BenchmarkDeploy(b *testing.B) {
	s := site.Start(b)
	api := &caller{b: b, s: s, http: &http.Client{Transport: &http.Transport{DialContext: s.Lab.Host("outside").Dial, MaxIdleConnsPerHost: 1}}}
	const marker = "31536001" // seconds to sleep: no other process has it
	service := api.service(marker)

	own := newOwn(b, s, "31536002")
	hops := []hop{
		{"root: assigned to a cluster, stored", s.Root, []string{"instance assigned", "%s/%d "}},
		{"NodeEngine: accepted", s.Engine["w1"], []string{"attempt accepted", "%s-%d-"}},
		{"NodeEngine: container and task are made", s.Engine["w1"], []string{"attempt changed", "%s-%d-", "to=CREATED"}},
		{"NetManager: attached, rules are in", s.Network["w1"], []string{"container attached", "instance=%d "}},
		{"NodeEngine: started", s.Engine["w1"], []string{"attempt changed", "%s-%d-", "to=RUNNING"}},
	}
	var ours, floor, handled sample
	var ways [][]float64
	for i := range rounds + 2 { // two rounds warm up
		begin := time.Now()
		a, post := api.measure(service, marker)
		f := own.measure(i)
		if i < 2 {
			continue
		}
		ours, floor, handled = append(ours, a), append(floor, f), append(handled, post)
		if way := trace(b, hops, service, i, begin); way != nil {
			ways = append(ways, way)
		}
	}
	report(hops, ways)
	fmt.Printf("\nPOST instance -> process executes, ms: %v\n", ours)
	fmt.Printf("  of which the POST itself, durable:   %v\n", handled)
	fmt.Printf("containerd create + start, ms:         %v\n", floor)
	fmt.Printf("ratio of medians: %.2f\n\n", ours.median()/floor.median())
	b.ReportMetric(ours.median()/floor.median(), "x-containerd")
	b.ReportMetric(0, "ns/op")
}

// executing counts processes that sleep for the marker's time.
func executing(marker string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	n := 0
	want := "sleep\x00" + marker
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.HasPrefix(string(line), want) {
			n++
		}
	}
	return n
}

// until polls the process table; it costs about a millisecond per look, the
// same for both sides.
func until(b *testing.B, what string, ok func() bool) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(300 * time.Microsecond) {
		if ok() {
			return
		}
	}
	b.Fatalf("not within 30 s: %s", what)
}

// caller is a user of the API with one warm connection.
type caller struct {
	b    *testing.B
	s    *site.Site
	http *http.Client
	next int
}

func (c *caller) do(method, path, body string) []byte {
	c.b.Helper()
	req, err := http.NewRequest(method, "http://"+c.s.Lab.Host("root").Addr+":10000"+path, strings.NewReader(body))
	if err != nil {
		c.b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.s.Token)
	resp, err := c.http.Do(req)
	if err != nil {
		c.b.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.b.Fatalf("%s %s: %s %v %s", method, path, resp.Status, err, data)
	}
	return data
}

// service makes the service to measure, tied to worker w1, and runs it once so
// that the image is there.
func (c *caller) service(marker string) string {
	c.b.Helper()
	c.do("POST", "/api/application/", fmt.Sprintf(`{"sla_version":"v2.0","applications":[{"application_name":"bench","application_namespace":"bench",
"microservices":[{"microservice_name":"sleep","microservice_namespace":"bench","virtualization":"container","cmd":["sleep",%q],
"memory":50,"vcpus":0,"code":"docker.io/curlimages/curl:7.82.0","constraints":[{"type":"direct","node":"w1"}]}]}]}`, marker))
	var list []struct {
		ID string `json:"microserviceID"`
	}
	if err := json.Unmarshal(c.do("GET", "/api/services/", ""), &list); err != nil || len(list) != 1 {
		c.b.Fatalf("services: %v %v", err, list)
	}
	return list[0].ID
}

// measure returns the milliseconds to the running process, and to the answer.
func (c *caller) measure(service, marker string) (runs, answered float64) {
	c.b.Helper()
	begin := time.Now()
	c.do("POST", "/api/service/"+service+"/instance", "")
	answered = ms(begin)
	until(c.b, "the process executes", func() bool { return executing(marker) == 1 })
	runs = ms(begin)
	c.do("DELETE", fmt.Sprintf("/api/service/%s/instance/%d", service, c.next), "")
	c.next++
	until(c.b, "the process is gone", func() bool { return executing(marker) == 0 })
	time.Sleep(time.Second) // the removal's own work is over
	return runs, answered
}

func ms(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// own drives the worker's containerd directly.
type own struct {
	b      *testing.B
	client *containerd.Client
	image  containerd.Image
	marker string
	dir    string
}

func newOwn(b *testing.B, s *site.Site, marker string) *own {
	b.Helper()
	socket := managed.Managed{Data: s.Lab.Path("w1", "node")}.Socket()
	client, err := containerd.New(socket)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	o := &own{b: b, client: client, marker: marker, dir: b.TempDir()}
	ctx, cancel := o.context()
	defer cancel()
	registry := s.Lab.Host("root").Addr + ":5555"
	dial := &http.Client{Transport: &http.Transport{DialContext: s.Lab.Host("w1").Dial}}
	o.image, err = client.Pull(ctx, registry+"/curlimages/curl:7.82.0", containerd.WithPullUnpack,
		containerd.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(docker.MatchAllHosts), docker.WithClient(dial))})))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := o.context()
		defer cancel()
		_ = client.ImageService().Delete(ctx, o.image.Name())
		_ = client.NamespaceService().Delete(ctx, "bench")
	})
	return o
}

func (o *own) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(namespaces.WithNamespace(context.Background(), "bench"), time.Minute)
}

func (o *own) measure(round int) float64 {
	o.b.Helper()
	ctx, cancel := o.context()
	defer cancel()
	id := fmt.Sprintf("bench-%d", round)
	begin := time.Now()
	c, err := o.client.NewContainer(ctx, id, containerd.WithNewSnapshot(id, o.image),
		containerd.WithNewSpec(oci.WithImageConfig(o.image), oci.WithProcessArgs("sleep", o.marker), oci.WithMemoryLimit(50<<20)))
	if err != nil {
		o.b.Fatal(err)
	}
	task, err := c.NewTask(ctx, cio.LogFile(filepath.Join(o.dir, id)))
	if err != nil {
		o.b.Fatal(err)
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		o.b.Fatal(err)
	}
	if err := task.Start(ctx); err != nil {
		o.b.Fatal(err)
	}
	until(o.b, "containerd's process executes", func() bool { return executing(o.marker) == 1 })
	took := ms(begin)
	if err := task.Kill(ctx, 9); err != nil {
		o.b.Fatal(err)
	}
	<-exit
	if _, err := task.Delete(ctx); err != nil {
		o.b.Fatal(err)
	}
	if err := c.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		o.b.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	return took
}
