package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"oakestra/test/site"
)

const (
	docsVisits = 100
	docsRounds = 5
	// hashPause is longer than what root/auth waits before it gives back the
	// memory of a password's hash.
	hashPause = 5 * time.Second
)

// docsFiles is all that a browser loads, and both documents.
var docsFiles = []string{
	"/api/docs/index.html", "/api/docs/index.css", "/api/docs/swagger-ui.css", "/api/docs/swagger-ui-bundle.js",
	"/api/docs/swagger-ui-standalone-preset.js", "/api/docs/swagger-initializer.js", "/api/docs/favicon-16x16.png",
	"/api/docs/favicon-32x32.png", "/api/docs/doc.json", "/api/openapi.json",
}

// BenchmarkDocsPage prints the memory of a system manager that has answered
// requests, what it is after the page was loaded as a browser does it, and the
// same of a build without the page.
func BenchmarkDocsPage(b *testing.B) {
	with, without := filepath.Join(site.Binaries(b), "system-manager"), withoutDocs(b)
	var never, before, once, often footprint
	for range docsRounds {
		_, pid, stop := docsServer(b, without)
		never.add(b, pid)
		stop()
		var a *api
		a, pid, stop = docsServer(b, with)
		before.add(b, pid)
		visit(b, a.addr, docsFiles)
		time.Sleep(time.Second)
		once.add(b, pid)
		for range docsVisits - 1 {
			visit(b, a.addr, docsFiles)
		}
		time.Sleep(time.Second)
		often.add(b, pid)
		stop()
	}
	fmt.Printf("\n%-24s %6s %6s %10s   %s\n", "the docs page, MiB", "RSS", "PSS", "anonymous", "PSS")
	never.print("build without the page")
	before.print("with it, not visited")
	once.print("after one visit")
	often.print(fmt.Sprintf("after %d visits", docsVisits))
	none, all := never.pss.median(), often.pss.median()
	fmt.Printf("PSS: having the page costs %.1f MiB, %d visits %.1f MiB more, together %.1f MiB\n",
		before.pss.median()-none, docsVisits, all-before.pss.median(), all-none)
	fmt.Printf("binary: %.1f MiB, without the page %.1f MiB\n\n", fileMiB(b, with), fileMiB(b, without))
	b.ReportMetric(all-none, "MiB-docs")
	b.ReportMetric(0, "ns/op")
}

// docsServer starts a server, logs in as whoever uses the page does, and asks
// for something small until the heap has been through several collections:
// what garbage takes between two of them is no cost of the page.
func docsServer(b *testing.B, binary string) (a *api, pid int, stop func()) {
	b.Helper()
	a = &api{b: b, addr: freeAddr(b)}
	pid, stop = startOne(b, a.addr, nil, binary, "-listen", a.addr, "-data", b.TempDir(), "-log-level", "error")
	a.login()
	a.do(http.MethodGet, "/api/applications/", "", nil)
	time.Sleep(hashPause)
	for range 4 * docsVisits {
		visit(b, a.addr, slices.Repeat([]string{"/healthz"}, len(docsFiles)))
	}
	time.Sleep(time.Second)
	return a, pid, stop
}

// footprint is the memory of a process in several rounds.
type footprint struct{ rss, pss, anonymous sample }

func (f *footprint) add(b *testing.B, pid int) {
	b.Helper()
	f.rss = append(f.rss, rollupMiB(b, pid, "Rss"))
	f.pss = append(f.pss, pssMiB(b, pid))
	f.anonymous = append(f.anonymous, rollupMiB(b, pid, "Anonymous"))
}

func (f *footprint) print(name string) {
	fmt.Printf("%-24s %6.1f %6.1f %10.1f   %s\n", name, f.rss.median(), f.pss.median(), f.anonymous.median(), f.pss)
}

// visit loads everything at once, over connections of its own.
func visit(b *testing.B, addr string, files []string) {
	b.Helper()
	transport := &http.Transport{MaxConnsPerHost: 6} // as browsers do
	defer transport.CloseIdleConnections()
	var all sync.WaitGroup
	for _, path := range files {
		all.Go(func() {
			resp, err := (&http.Client{Transport: transport}).Get("http://" + addr + path)
			if err != nil {
				b.Error(err)
				return
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || len(data) == 0 {
				b.Errorf("%s: %d, %d bytes, %v", path, resp.StatusCode, len(data), err)
			}
		})
	}
	all.Wait()
}

// withoutDocs builds a system manager that lacks the page.
func withoutDocs(b *testing.B) string {
	b.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "root/rest/docs.go"): filepath.Join(root, "test/bench/testdata/nodocs.go.txt"),
	}})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(dir, "system-manager")
	cmd := exec.Command("go", "build", "-overlay", list, "-o", binary, "./cmd/system-manager")
	if path := os.Getenv("GO"); path != "" {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

func fileMiB(b *testing.B, name string) float64 {
	b.Helper()
	info, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	return float64(info.Size()) / (1 << 20)
}
