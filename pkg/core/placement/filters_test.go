package placement

import (
	"testing"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Every filter lets pass what just fits and refuses what just does not, with
// its figures. The worker is in use by another service.
func TestEveryFilter(t *testing.T) {
	worker := Candidate{ID: "w1", Name: "host1", Runtimes: []string{"container"}, Architectures: []string{"amd64"}, Network: true,
		Capacity: model.Resources{MilliCPU: 4000, MemoryMB: 1024, GPUs: 2, DiskMB: 500}}
	change := func(f func(*Candidate)) Candidate {
		c := worker
		f(&c)
		return c
	}
	demand := func(cpu, mem, gpu, disk int64) Request {
		return Request{Demand: model.Resources{MilliCPU: cpu, MemoryMB: mem, GPUs: gpu, DiskMB: disk}}
	}
	port := func(host uint16, p model.Protocol) Request {
		return Request{Ports: []model.Port{{Host: host, Container: 80, Protocol: p}}}
	}
	taken := Request{Service: "other", Demand: model.Resources{MilliCPU: 1500, MemoryMB: 24, GPUs: 1, DiskMB: 100}, Ports: port(80, model.TCP).Ports}
	for _, c := range []struct {
		name      string
		candidate Candidate
		request   Request
		reason    string // "" when it fits
		detail    string
	}{
		{"nothing wanted", worker, Request{}, "", ""},
		{"the runtime", worker, Request{Runtime: "container"}, "", ""},
		{"another runtime", worker, Request{Runtime: "unikernel"}, "runtime", "host1: no unikernel"},
		{"all the vcpus that are left", worker, demand(2500, 0, 0, 0), "", ""},
		{"more vcpus", worker, demand(2501, 0, 0, 0), "vcpus", "host1: 2.501 > 2.5 free"},
		{"all the memory", worker, demand(0, 1000, 0, 0), "", ""},
		{"more memory", worker, demand(0, 1001, 0, 0), "memory", "host1: 1001 > 1000 MiB free"},
		{"the other vgpu", worker, demand(0, 0, 1, 0), "", ""},
		{"two vgpus", worker, demand(0, 0, 2, 0), "vgpus", "host1: 2 > 1 free"},
		{"all the storage", worker, demand(0, 0, 0, 400), "", ""},
		{"more storage", worker, demand(0, 0, 0, 401), "storage", "host1: 401 > 400 MiB free"},
		{"more of two is one reason", worker, demand(9000, 9000, 0, 0), "vcpus", "host1: 9 > 2.5 free"},
		{"one of the architectures", worker, Request{Architectures: []string{"arm64", "amd64"}}, "", ""},
		{"no such architecture", worker, Request{Architectures: []string{"arm64", "arm"}}, "architecture", "host1: no arm64 or arm"},
		{"the overlay", worker, Request{Network: true}, "", ""},
		{"the overlay, where there is none", change(func(c *Candidate) { c.Network = false }), Request{Network: true}, "network", "host1: no overlay"},
		{"a host port of its own", worker, port(81, model.TCP), "", ""},
		{"a host port that another service has", worker, port(80, model.TCP), "port", "host1: 80/tcp is used by another service"},
		{"the same port of the other protocol", worker, port(80, model.UDP), "", ""},
		{"named by id", worker, Request{Restricted: true, Only: []string{"x", "w1"}}, "", ""},
		{"named by host", worker, Request{Restricted: true, Only: []string{"host1"}}, "", ""},
		{"not named", worker, Request{Restricted: true, Only: []string{"x", "y"}}, "constraint", "host1: not one of x;y"},
		{"constraints that exclude each other", worker, Request{Restricted: true}, "constraint", "host1: not one of "},
		{"where its name is taken", worker, Request{Taken: []string{"x", "w1"}}, "name", "host1: has another service of that name"},
		{"where its name is free", worker, Request{Taken: []string{"x"}}, "", ""},
		{"cordoned", change(func(c *Candidate) { c.Cordoned = true }), Request{}, "cordon", "host1"},
		{"silent", change(func(c *Candidate) { c.Inactive = true }), Request{}, "inactive", "host1"},
	} {
		x := NewIndex()
		x.Apply(Delta{Upsert: []Candidate{c.candidate}})
		x.Reserve("k", "w1", taken)
		c.request.Service = "s"
		_, err := x.Place(c.request)
		why := x.Judge("w1", c.request)
		if (err == nil) != (c.reason == "") {
			t.Errorf("%s: %v", c.name, err)
		}
		want := instance.Reason{Name: c.reason, Count: 1, Detail: c.detail}
		if got := why; c.reason == "" && got != nil || c.reason != "" && (got == nil || *got != want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}
