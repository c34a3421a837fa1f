package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"oakestra/test/site"
)

const (
	apiServices = 10_000
	perBody     = 50 // services of one descriptor
	apiRounds   = 5
	// apiRoots share the rounds: each instance takes one of 65 000 addresses,
	// and a root that is asked for 10 000 a second has none left after six.
	apiRoots   = 2
	trivialVar = "OAK_BENCH_TRIVIAL" // makes this binary the trivial server
)

// TestMain turns the binary into the server that the API is compared with: a
// process of its own, as the system manager is.
func TestMain(m *testing.M) {
	if addr := os.Getenv(trivialVar); addr != "" {
		gin.SetMode(gin.ReleaseMode)
		e := gin.New()
		answer := func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"message": "ok"}) }
		e.GET("/", answer)
		e.POST("/", answer)
		fmt.Fprintln(os.Stderr, e.Run(addr))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// BenchmarkAPI compares requests of a root that holds 10 000 services with
// those of a trivial gin handler, by wrk with 32 connections.
func BenchmarkAPI(b *testing.B) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		b.Fatal("wrk is missing; run: sudo deploy/setup.sh bench")
	}
	addr := freeAddr(b)
	trivial := server{addr: addr, pid: start(b, addr, []string{trivialVar + "=" + addr}, os.Args[0])}
	binary := filepath.Join(site.Binaries(b), "system-manager")
	fmt.Println()
	var roots [apiRoots]server
	for i := range roots {
		roots[i] = apiServer(b, binary)
	}
	for _, c := range []struct{ name, method, suffix string }{
		{"GET service", http.MethodGet, ""},
		{"POST instance (durable)", http.MethodPost, "/instance"},
	} {
		var ours, theirs series
		for i := range apiRounds + 1 { // the first warms up
			root := roots[i*apiRoots/(apiRounds+1)]
			theirs = append(theirs, trivial.load(b, wrk, c.method, "/"))
			ours = append(ours, root.load(b, wrk, c.method, root.path+c.suffix))
		}
		compared(b, c.name, ours[1:], theirs[1:])
	}
	for _, r := range roots {
		fmt.Printf("PSS of a system manager at the end %.1f MiB\n", pssMiB(b, r.pid))
	}
	fmt.Println()
	b.ReportMetric(0, "ns/op")
}

// server is a process under load, at a path.
type server struct {
	addr, path, token string
	pid               int
}

// apiServer is a root with services, at one of them.
func apiServer(b *testing.B, binary string) server {
	b.Helper()
	a := &api{b: b, addr: freeAddr(b)}
	pid := start(b, a.addr, nil, binary, "-listen", a.addr, "-data", b.TempDir(), "-log-level", "error")
	a.ready()
	a.login()
	began := time.Now()
	id := a.load()
	fmt.Printf("%d services stored in %.1f s; PSS of the system manager then %.1f MiB\n", apiServices, time.Since(began).Seconds(), pssMiB(b, pid))
	return server{a.addr, "/api/service/" + id, a.token, pid}
}

// round is a moment of load: requests a second, the 99th percentile in
// milliseconds, and what a request cost the server in microseconds of CPU.
type round struct{ rate, p99, cost float64 }

type series []round

func (r series) of(f func(round) float64) (out sample) {
	for _, v := range r {
		out = append(out, f(v))
	}
	return out
}

// compared prints ours beside theirs.
func compared(b *testing.B, name string, ours, theirs series) {
	b.Helper()
	for _, v := range []struct {
		what, unit string
		of         func(round) float64
	}{
		{"requests/s", "rate", func(r round) float64 { return r.rate }},
		{"p99 ms", "p99", func(r round) float64 { return r.p99 }},
		{"CPU us a request", "cpu", func(r round) float64 { return r.cost }},
	} {
		a, o := ours.of(v.of), theirs.of(v.of)
		ratio := a.median() / o.median()
		fmt.Printf("%s, %s: %s; gin: %s; ratio %.2f\n", name, v.what, a, o, ratio)
		b.ReportMetric(ratio, strings.Fields(name)[0]+"-"+v.unit+"-x-gin")
	}
}

func freeAddr(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// start runs a server until b ends and waits until it listens.
func start(b *testing.B, addr string, env []string, name string, arg ...string) (pid int) {
	b.Helper()
	pid, stop := startOne(b, addr, env, name, arg...)
	b.Cleanup(stop)
	return pid
}

// startOne leaves the end to the caller.
func startOne(b *testing.B, addr string, env []string, name string, arg ...string) (pid int, stop func()) {
	b.Helper()
	pid, stop = launch(b, env, name, arg...)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return pid, stop
		}
		if time.Now().After(deadline) {
			stop()
			b.Fatalf("%s does not listen on %s: %v", name, addr, err)
		}
	}
}

// launch runs a program until stop is called, or b ends.
func launch(b *testing.B, env []string, name string, arg ...string) (pid int, stop func()) {
	b.Helper()
	cmd := exec.Command(name, arg...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	b.Cleanup(stop)
	return cmd.Process.Pid, stop
}

// api is a root as a client sees it.
type api struct {
	b     *testing.B
	addr  string
	token string
}

func (a *api) do(method, path, body string, out any) {
	a.b.Helper()
	req, err := http.NewRequest(method, "http://"+a.addr+path, strings.NewReader(body))
	if err != nil {
		a.b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.b.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		a.b.Fatalf("%s %s: %d %v %.300s", method, path, resp.StatusCode, err, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			a.b.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// ready waits until the root has read its store.
func (a *api) ready() {
	a.b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + a.addr + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			a.b.Fatalf("%s does not get ready: %v", a.addr, err)
		}
	}
}

func (a *api) login() {
	var s struct{ Token string }
	a.do(http.MethodPost, "/api/auth/login", `{"username":"Admin","password":"Admin"}`, &s)
	a.token = s.Token
}

// load stores the services and returns the id of one of them.
func (a *api) load() (id string) {
	for i := range apiServices / perBody {
		var parts []string
		for k := range perBody {
			parts = append(parts, fmt.Sprintf(`{"microserviceID":"","microservice_name":"s%d","microservice_namespace":"test","virtualization":"container","cmd":[],
				"memory":100,"vcpus":1,"vgpus":0,"storage":0,"code":"docker.io/library/nginx:latest","port":""}`, k))
		}
		body := fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"","application_name":"app%d",
			"application_namespace":"test","application_desc":"","microservices":[%s]}]}`, i, strings.Join(parts, ","))
		a.do(http.MethodPost, "/api/application/", body, nil)
	}
	var apps []struct{ Microservices []string }
	a.do(http.MethodGet, "/api/applications/", "", &apps)
	return apps[len(apps)/2].Microservices[perBody/2]
}

var (
	perSecond = regexp.MustCompile(`Requests/sec: +([0-9.]+)`)
	at99      = regexp.MustCompile(`(?m)^ +99% +([0-9.]+)(us|ms|s)`)
	served    = regexp.MustCompile(`(\d+) requests in`)
)

// load runs wrk for a moment. An answer other than 2xx ends b.
func (s server) load(b *testing.B, wrk, method, path string) round {
	b.Helper()
	script := filepath.Join(b.TempDir(), "method.lua")
	if err := os.WriteFile(script, []byte(fmt.Sprintf("wrk.method = %q\n", method)), 0o600); err != nil {
		b.Fatal(err)
	}
	before := cpuSeconds(b, s.pid)
	out, err := exec.Command(wrk, "-t", "1", "-c", "32", "-d", "1s", "--latency", "-s", script, "-H", "Authorization: Bearer "+s.token, "http://"+s.addr+path).CombinedOutput()
	used := cpuSeconds(b, s.pid) - before
	r, p, n := perSecond.FindSubmatch(out), at99.FindSubmatch(out), served.FindSubmatch(out)
	if err != nil || r == nil || p == nil || n == nil || strings.Contains(string(out), "Non-2xx") {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	rate, err1 := strconv.ParseFloat(string(r[1]), 64)
	p99, err2 := strconv.ParseFloat(string(p[1]), 64)
	requests, err3 := strconv.ParseFloat(string(n[1]), 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		b.Fatal(err)
	}
	return round{rate, p99 * map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[string(p[2])], used / requests * 1e6}
}
