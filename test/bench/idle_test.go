package bench

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
	"oakestra/test/site"
)

const idleFor = 30 * time.Second

// BenchmarkIdle prints proportional set size and CPU of every daemon, idle for
// half a minute after two workers have joined.
func BenchmarkIdle(b *testing.B) {
	s := site.Start(b)
	list := []struct {
		name string
		p    *netlab.Process
	}{
		{"system-manager", s.Root}, {"cluster-manager with broker", s.Cluster},
		{"NodeEngine", s.Engine["w1"]}, {"NetManager", s.Network["w1"]},
	}
	time.Sleep(5 * time.Second) // start-up garbage
	before := make([]float64, len(list))
	for i, e := range list {
		before[i] = cpuSeconds(b, e.p.Pid())
	}
	time.Sleep(idleFor)
	fmt.Printf("\n%-30s %10s %18s\n", "idle", "PSS MiB", "CPU % of a core")
	sums := [2]float64{}
	for i, e := range list {
		pss := pssMiB(b, e.p.Pid())
		sums[i/2] += pss
		fmt.Printf("%-30s %10.1f %18.2f\n", e.name, pss, (cpuSeconds(b, e.p.Pid())-before[i])/idleFor.Seconds()*100)
	}
	fmt.Printf("root + cluster + broker + store %.1f MiB, NodeEngine + NetManager %.1f MiB\n\n", sums[0], sums[1])
	b.ReportMetric(sums[0], "MiB-control")
	b.ReportMetric(sums[1], "MiB-worker")
	b.ReportMetric(0, "ns/op")
}

func pssMiB(b *testing.B, pid int) float64 {
	b.Helper()
	return rollupMiB(b, pid, "Pss")
}

// rollupMiB is one line of what the kernel says of a process's memory.
func rollupMiB(b *testing.B, pid int, line string) float64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), line+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatalf("no %s of process %d", line, pid)
	return 0
}

// cpuSeconds is user and system time, by the kernel's 100 ticks a second.
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return (user + system) / 100
}
