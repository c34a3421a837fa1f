package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
	"oakestra/test/site"
)

const overlayRounds = 5

// BenchmarkOverlay compares, in alternating rounds between the same two
// workers: iperf3 through a service address, and over a plain VXLAN of bridges
// and veth pairs without any rule of ours.
func BenchmarkOverlay(b *testing.B) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		b.Fatal("iperf3 is missing; run: sudo deploy/setup.sh test")
	}
	s := site.Start(b)
	_, ids := s.DeploySeed()
	client, err := s.Container(ids["curl"], 0)
	if err != nil {
		b.Fatal(err)
	}
	server, err := s.Container(ids["nginx"], 0)
	if err != nil {
		b.Fatal(err)
	}
	plainClient, plainServer := plain(b, s, client.Worker, server.Worker)
	serve(b, netns(server.Pid))
	serve(b, func(ctx context.Context, args ...string) *exec.Cmd {
		return plainServer.Command(ctx, args[0], args[1:]...)
	})
	var ours, floor sample
	for i := range overlayRounds + 1 { // one round warms up
		a := iperf(b, netns(client.Pid), "10.30.30.30")
		f := iperf(b, func(ctx context.Context, args ...string) *exec.Cmd {
			return plainClient.Command(ctx, args[0], args[1:]...)
		}, "10.77.0.2")
		if i > 0 {
			ours, floor = append(ours, a), append(floor, f)
		}
	}
	fmt.Printf("\nthrough the service address, Gbit/s: %v\nplain VXLAN, Gbit/s:                %v\nratio of medians: %.2f\n\n",
		ours, floor, ours.median()/floor.median())
	b.ReportMetric(ours.median()/floor.median(), "x-vxlan")
	b.ReportMetric(0, "ns/op")
}

type commander func(ctx context.Context, args ...string) *exec.Cmd

// netns runs the machine's own programs inside a container's network.
func netns(pid int) commander {
	return func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "--"}, args...)...)
	}
}

// plain builds a VXLAN with a bridge and a pod on each of two workers.
func plain(b *testing.B, s *site.Site, from, to string) (client, server *netlab.Host) {
	b.Helper()
	pods := make([]*netlab.Host, 2)
	for i, w := range []string{from, to} {
		h, peer := s.Lab.Host(w), s.Lab.Host([]string{to, from}[i])
		for _, args := range [][]string{
			{"link", "add", "bench0", "mtu", "1450", "type", "bridge"},
			{"link", "set", "bench0", "up"},
			{"link", "add", "benchvx", "mtu", "1450", "type", "vxlan", "id", "77", "dstport", "50999", "local", h.Addr, "remote", peer.Addr},
			{"link", "set", "benchvx", "master", "bench0", "up"},
		} {
			if _, err := h.Run("ip", args...); err != nil {
				b.Fatal(err)
			}
		}
		// Bridged frames pass iptables where br_netfilter is on; the overlay's
		// rules must not decide over the comparison.
		_, _ = h.Run("iptables", "-w", "-I", "FORWARD", "-i", "bench0", "-j", "ACCEPT")
		pod, err := h.Pod("bench", "bench0", fmt.Sprintf("10.77.0.%d/24", i+1))
		if err != nil {
			b.Fatal(err)
		}
		pods[i] = pod
	}
	return pods[0], pods[1]
}

func serve(b *testing.B, in commander) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := in(ctx, "iperf3", "-s", "-p", "5201")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out, _ := in(ctx, "ss", "-ltn").Output()
		if strings.Contains(string(out), ":5201") {
			return
		}
	}
	b.Fatal("iperf3 does not listen")
}

// iperf measures one TCP stream for three seconds, in Gbit/s as received.
func iperf(b *testing.B, in commander, to string) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := in(ctx, "iperf3", "-c", to, "-p", "5201", "-t", "3", "-J").Output()
	var r struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if jsonErr := json.Unmarshal(out, &r); err != nil || jsonErr != nil || r.Error != "" || r.End.Received.Rate == 0 {
		b.Fatalf("iperf3 to %s: %v %v %s", to, err, jsonErr, r.Error)
	}
	return r.End.Received.Rate / 1e9
}
