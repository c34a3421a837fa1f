package bench

import (
	"encoding/json"
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
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"oakestra/test/site"
)

const (
	apiServices = 10_000
	perBody     = 50 // services of one descriptor
	apiRounds   = 5
	trivialVar  = "OAK_BENCH_TRIVIAL" // makes this binary the trivial server
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
	trivial := freeAddr(b)
	start(b, trivial, []string{trivialVar + "=" + trivial}, os.Args[0])
	a := &api{b: b, addr: freeAddr(b)}
	pid := start(b, a.addr, nil, filepath.Join(site.Binaries(b), "system-manager"), "-listen", a.addr, "-data", b.TempDir(), "-log-level", "error")
	a.login()
	began := time.Now()
	id := a.load()
	fmt.Printf("\n%d services stored in %.1f s; PSS of the system manager then %.1f MiB\n", apiServices, time.Since(began).Seconds(), pssMiB(b, pid))
	for _, c := range []struct{ name, method, path string }{
		{"GET service", http.MethodGet, "/api/service/" + id},
		{"POST instance (durable)", http.MethodPost, "/api/service/" + id + "/instance"},
	} {
		var ours, theirs, slow, theirSlow sample
		for range apiRounds + 1 { // the first warms up
			r, p := load(b, wrk, c.method, "http://"+trivial+"/", "")
			theirs, theirSlow = append(theirs, r), append(theirSlow, p)
			r, p = load(b, wrk, c.method, "http://"+a.addr+c.path, a.token)
			ours, slow = append(ours, r), append(slow, p)
		}
		ours, theirs, slow, theirSlow = ours[1:], theirs[1:], slow[1:], theirSlow[1:]
		ratio, worst := ours.median()/theirs.median(), slow.median()/theirSlow.median()
		fmt.Printf("%s, requests/s: %s; gin: %s; ratio %.2f\n", c.name, ours, theirs, ratio)
		fmt.Printf("%s, p99 ms: %s; gin: %s; ratio %.2f\n", c.name, slow, theirSlow, worst)
		b.ReportMetric(ratio, strings.Fields(c.name)[0]+"-x-gin")
	}
	fmt.Printf("PSS of the system manager at the end %.1f MiB\n\n", pssMiB(b, pid))
	b.ReportMetric(0, "ns/op")
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
	cmd := exec.Command(name, arg...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return cmd.Process.Pid, stop
		}
		if time.Now().After(deadline) {
			stop()
			b.Fatalf("%s does not listen on %s: %v", name, addr, err)
		}
	}
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
)

// load runs wrk for a moment: requests a second, and the 99th percentile in
// milliseconds. An answer other than 2xx ends b.
func load(b *testing.B, wrk, method, url, token string) (rate, p99 float64) {
	b.Helper()
	script := filepath.Join(b.TempDir(), "method.lua")
	if err := os.WriteFile(script, []byte(fmt.Sprintf("wrk.method = %q\n", method)), 0o600); err != nil {
		b.Fatal(err)
	}
	out, err := exec.Command(wrk, "-t", "1", "-c", "32", "-d", "1s", "--latency", "-s", script, "-H", "Authorization: Bearer "+token, url).CombinedOutput()
	r, p := perSecond.FindSubmatch(out), at99.FindSubmatch(out)
	if err != nil || r == nil || p == nil || strings.Contains(string(out), "Non-2xx") {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	rate, err1 := strconv.ParseFloat(string(r[1]), 64)
	p99, err2 := strconv.ParseFloat(string(p[1]), 64)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return rate, p99 * map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[string(p[2])]
}
