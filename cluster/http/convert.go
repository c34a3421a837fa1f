package http

import (
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"oakestra/api/mqtt"
	"oakestra/cluster/fleet"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// late is what engines from v0.4.410 on say instead; "memory" is then free MiB.
type late struct {
	VCPUs          *float64 `json:"vcpus"`
	VGPUs          int64    `json:"vgpus"`
	Memory         float64  `json:"memory"`
	MemoryPercent  float64  `json:"memory_percent"`
	Virtualization []string `json:"virtualization"`
}

var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "armhf": "arm"}

func registrationFrom(body []byte, peer netip.Addr) (fleet.Registration, error) {
	var w mqtt.Register
	var l late
	for _, v := range []any{&w, &l} {
		if err := json.Unmarshal(body, v); err != nil {
			return fleet.Registration{}, errs.Problems{{Path: "body", Message: err.Error()}}
		}
	}
	var p errs.Problems
	host := strings.TrimSpace(w.Host)
	if host == "" || len(host) > 253 || strings.ContainsAny(host, "/+# \t\n") || strings.ContainsRune(host, 0) {
		p = append(p, errs.Problem{Path: "host", Value: strconv.Quote(w.Host), Message: "want a host name"})
	}
	cores := int64(w.FreeCores)
	memory, runtimes, gpus := w.MemoryMB, w.Technology, int64(w.GPUCores)
	used, free := w.Memory, float64(w.MemoryFreeInMB)
	if l.VCPUs != nil {
		cores, runtimes, gpus, used, free = int64(*l.VCPUs), l.Virtualization, l.VGPUs, l.MemoryPercent, l.Memory
	}
	if memory == 0 { // originals: what is free, and how many per cent that leaves used
		memory = int64(free)
		if used > 0 && used < 100 {
			memory = int64(math.Round(free / (1 - used/100)))
		}
	}
	cpu := w.MilliCPU
	if cpu == 0 {
		cpu = cores * 1000
	}
	if cpu < 0 || memory < 0 {
		p = append(p, errs.Problem{Path: "free_cores", Value: strconv.FormatInt(cpu, 10), Message: "amounts must not be negative"})
	}
	arch := w.Architecture
	if arch == "" {
		arch = w.SystemInfo["architecture"]
	}
	if a, ok := architectures[arch]; ok {
		arch = a
	}
	var runs []string
	for _, r := range runtimes {
		runs = append(runs, r)
		if r == "docker" {
			runs = append(runs, "container")
		}
	}
	disk := w.DiskMB
	return fleet.Registration{
		Host: host, Key: w.NodeKey, Boot: w.Boot, Address: peer, Architecture: arch, Runtimes: runs, Version: w.Version,
		Capacity: model.Resources{MilliCPU: cpu, MemoryMB: memory, GPUs: gpus, DiskMB: disk},
		Network:  w.Overlay || w.NetManagerPort > 0,
	}, p.Err()
}
