package tables

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// fleet is 1 000 workers, 1 000 services with three instances each, and every
// worker interested in five of them; fan of them in service 0.
func fleet(b *testing.B, fan int) (*rig, []nodelink.Endpoint) {
	const workers, services = 1000, 1000
	r := newRig(b, nil)
	p := r.plane
	p.gate.open = false
	p.gate.expected["hold"] = struct{}{} // no pushes while building
	var eps []nodelink.Endpoint
	id := func(i int) model.NodeID { return model.NodeID(fmt.Sprintf("n%04d", i)) }
	wide := func(base byte, i int) netip.Addr {
		return netip.AddrFrom4([4]byte{10, base, byte(i >> 8), byte(i)})
	}
	for i := range services {
		s := service(0, 0)
		s.ID = model.ServiceID(fmt.Sprintf("s%04d", i))
		s.Name.Service = fmt.Sprintf("svc%d", i)
		s.Address = wide(30, i)
		s.Instances = map[int]netip.Addr{}
		for n := range 3 {
			s.Instances[n] = wide(31, i*4+n)
			eps = append(eps, nodelink.Endpoint{
				Service: s.ID, JobName: s.Name.String(), Number: n, NamespaceIP: wide(18, (i*3+n)%workers*64+2+(i*3+n)/workers),
				Epoch: instance.Epoch{Grant: 1, Try: 1},
			})
		}
		p.setService(s)
	}
	for i := range workers {
		p.setNode(Node{ID: id(i), Address: wide(172, i), Network: true})
		rep := &nodelink.NetReport{
			Boot: "b", Snapshot: true, Dataplane: model.DataplaneVXLAN, HostIP: wide(172, i), HostPort: 50103,
			Subnet: netip.PrefixFrom(wide(18, i*64), 26),
		}
		for k := i; k < len(eps); k += workers {
			rep.Endpoints = append(rep.Endpoints, eps[k])
		}
		for k := range 5 {
			rep.Interests = append(rep.Interests, p.services[model.ServiceID(fmt.Sprintf("s%04d", (i*7+k*131)%services))].Name.String())
		}
		if i < fan {
			rep.Interests = append(rep.Interests, p.services["s0000"].Name.String())
		}
		p.handle(nodelink.Inbound{Node: id(i), Net: rep}, r.now)
	}
	delete(p.gate.expected, "hold")
	r.step()
	return r, eps
}

// BenchmarkChange is the cost of one endpoint that goes and comes back, from
// the message to everybody's state, among 1 000 workers.
func BenchmarkChange(b *testing.B) {
	for _, fan := range []int{0, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", 5+fan), func(b *testing.B) {
			r, eps := fleet(b, fan)
			b.ReportAllocs()
			for b.Loop() {
				e := eps[0]
				r.plane.handle(nodelink.Inbound{Node: "n0000", Undeployed: &e}, r.now)
				r.step()
				r.plane.handle(nodelink.Inbound{Node: "n0000", Deployed: &e}, r.now)
				r.step()
			}
		})
	}
}

// BenchmarkRestart is the cost of the first full push to 1 000 workers.
func BenchmarkRestart(b *testing.B) {
	r, _ := fleet(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		for n, d := range r.plane.delivery {
			d.begun = false
			r.plane.dirty[n] = struct{}{}
		}
		r.step()
	}
}

// BenchmarkReport is the cost of a sign of life that changes nothing.
func BenchmarkReport(b *testing.B) {
	r, _ := fleet(b, 0)
	d := r.plane.delivery["n0000"]
	rep := &nodelink.NetReport{
		Boot: "b", Dataplane: model.DataplaneVXLAN, HostIP: netip.AddrFrom4([4]byte{10, 172, 0, 0}), HostPort: 50103,
		Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 18, 0, 0}), 26), Applied: d.version,
	}
	b.ReportAllocs()
	for b.Loop() {
		r.now = r.now.Add(time.Microsecond)
		r.plane.handle(nodelink.Inbound{Node: "n0000", Net: rep}, r.now)
		r.step()
	}
}
