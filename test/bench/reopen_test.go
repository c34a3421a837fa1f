package bench

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"oakestra/test/site"
	"oakestra/test/stock"
)

const (
	reopenServices  = 100_000
	reopenInstances = 10_000
	reopenRounds    = 5
)

// BenchmarkReopen is how long a root with 100 000 services takes from the
// start of its process until it is ready.
func BenchmarkReopen(b *testing.B) {
	dir, program := b.TempDir(), filepath.Join(site.Binaries(b), "system-manager")
	began := time.Now()
	stock.Fill(b, dir, reopenServices, reopenInstances)
	fmt.Printf("\n%d services and %d instances stored in %.1f s\n", reopenServices, reopenInstances, time.Since(began).Seconds())
	var took, pss sample
	for range reopenRounds {
		began := time.Now()
		addr := freeAddr(b)
		pid, stop := launch(b, nil, program, "-listen", addr, "-data", dir, "-log-level", "error")
		for deadline := began.Add(time.Minute); ; time.Sleep(time.Millisecond) {
			resp, err := http.Get("http://" + addr + "/readyz")
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					break
				}
			}
			if time.Now().After(deadline) {
				b.Fatal("not ready within a minute")
			}
		}
		took = append(took, time.Since(began).Seconds()*1000)
		pss = append(pss, pssMiB(b, pid))
		stop()
	}
	fmt.Printf("start of the process until /readyz says so, ms: %s; PSS then, MiB: %s\n\n", took, pss)
	b.ReportMetric(took.median(), "ms-reopen")
	b.ReportMetric(pss.median(), "MiB-reopen")
	b.ReportMetric(0, "ns/op")
}
