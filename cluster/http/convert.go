package http

import (
	"cmp"
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
	o := offerFrom(&w, l)
	capacity := model.Resources{
		MilliCPU: cmp.Or(w.MilliCPU, o.cores*1000), MemoryMB: cmp.Or(w.MemoryMB, o.memory()), GPUs: o.gpus, DiskMB: w.DiskMB,
	}
	if capacity.MilliCPU < 0 || capacity.MemoryMB < 0 {
		p = append(p, errs.Problem{Path: "free_cores", Value: strconv.FormatInt(capacity.MilliCPU, 10), Message: "amounts must not be negative"})
	}
	return fleet.Registration{
		Host: host, Key: w.NodeKey, Machine: machine(w.SystemInfo["full_stats"]), Boot: w.Boot, Address: peer, Version: w.Version,
		Architecture: architecture(cmp.Or(w.Architecture, w.SystemInfo["architecture"])), Runtimes: runtimes(o.virtualization),
		Capacity: capacity, Network: w.Overlay || w.NetManagerPort > 0, Abilities: w.Abilities,
	}, p.Err()
}

// offer is what an engine says it has, in the words of either age.
type offer struct {
	cores, gpus    int64
	free           float64 // memory, MiB
	used           float64 // memory, per cent
	virtualization []string
}

func offerFrom(w *mqtt.Register, l late) offer {
	if l.VCPUs != nil {
		return offer{cores: int64(*l.VCPUs), gpus: l.VGPUs, free: l.Memory, used: l.MemoryPercent, virtualization: l.Virtualization}
	}
	return offer{cores: int64(w.FreeCores), gpus: int64(w.GPUCores), free: float64(w.MemoryFreeInMB), used: w.Memory, virtualization: w.Technology}
}

// memory of the whole machine in MiB: originals say what is free, and how many
// per cent that leaves used.
func (o offer) memory() int64 {
	if o.used > 0 && o.used < 100 {
		return int64(math.Round(o.free / (1 - o.used/100)))
	}
	return int64(o.free)
}

// machine is the id that an original's library finds for its machine, "" for
// none: the board's, the system's, or at worst this boot's.
func machine(fullStats string) string {
	var v struct {
		HostID string `json:"hostId"` // "hostid" from earlier ones
	}
	if json.Unmarshal([]byte(fullStats), &v) != nil {
		return ""
	}
	return v.HostID
}

// architecture in Go's words, as images have it.
func architecture(kernel string) string { return cmp.Or(architectures[kernel], kernel) }

// runtimes adds what a service may ask for to the names that engines use.
func runtimes(virtualization []string) []string {
	var runs []string
	for _, r := range virtualization {
		runs = append(runs, r)
		if r == "docker" {
			runs = append(runs, "container")
		}
	}
	return runs
}
