package tables

import (
	"net/netip"
	"testing"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// shared makes services of one name and one address, the first the oldest.
func shared(n int) []Service {
	var out []Service
	for i := range n {
		s := service(i+1, 1)
		s.Name, s.Address = service(1, 1).Name, service(1, 1).Address
		out = append(out, s)
	}
	return out
}

func (r *rig) means(t *testing.T, s Service, want model.ServiceID) {
	t.Helper()
	if got, _ := r.plane.resolve(s.Name.String(), netip.Addr{}); got != want {
		t.Errorf("%s is %q, want %q", s.Name, got, want)
	}
	if got, _ := r.plane.resolve("", s.Address); got != want {
		t.Errorf("%s is %q, want %q", s.Address, got, want)
	}
}

// A service is deleted and created again under its name, and its address. In
// whatever order one hears of the end of the old one, the name is the new one's.
func TestANameGoesToTheNewService(t *testing.T) {
	for _, late := range []bool{false, true} {
		r := newRig(t, nil)
		s := shared(2)
		gone, next := s[0], s[1]
		r.plane.setService(gone)
		r.means(t, gone, gone.ID)
		gone.Ends = true
		if late {
			r.plane.setService(next)
			r.means(t, next, "s1") // the older one keeps it: they may be of two users
			r.plane.setService(gone)
		} else {
			r.plane.setService(gone)
			r.means(t, gone, gone.ID)
			r.plane.setService(next)
		}
		r.means(t, next, next.ID)
		r.plane.forgetService(gone.ID)
		r.means(t, next, next.ID)
		r.plane.forgetService(next.ID)
		r.means(t, next, "")
		if len(r.plane.sharers)+len(r.plane.names)+len(r.plane.addrs)+len(r.plane.indexed) != 0 {
			t.Errorf("left: %v %v %v", r.plane.sharers, r.plane.names, r.plane.addrs)
		}
	}
}

// Of the services of two users the older one has the name, as at the root,
// whatever else changes.
func TestANameOfTwoUsers(t *testing.T) {
	r := newRig(t, nil)
	s := shared(3)
	for _, i := range []int{2, 0, 1} {
		r.plane.setService(s[i])
	}
	for _, i := range []int{0, 1, 2} {
		s[i].Instances[7] = netip.AddrFrom4([4]byte{10, 30, 99, byte(i)})
		changed := s[i]
		changed.Tenant = "u"
		r.plane.setService(changed)
		r.means(t, s[0], "s1")
	}
	r.plane.forgetService("s1")
	r.means(t, s[0], "s2")
	for i, a := range s[1:] {
		if got, _ := r.plane.resolve("", a.Instances[7]); got != a.ID {
			t.Errorf("address of instance 7 of service %d: %q", i, got)
		}
	}
}

// An original NetManager names no service. Its container is that of the service
// which the cluster manager says its worker has, not of whoever has the name.
func TestEndpointsOfANameOfTwoUsers(t *testing.T) {
	r := newRig(t, nil)
	s := shared(2)
	for _, v := range s {
		r.plane.setService(v)
	}
	for i, v := range s {
		n := model.NodeID([]string{"w1", "w2"}[i])
		r.plane.setNode(Node{ID: n, Address: underlay(i), Network: true})
		e := nodelink.Endpoint{Service: v.ID, JobName: v.Name.String(), NamespaceIP: inSubnet(i, 2)}
		r.plane.handle(nodelink.Inbound{Node: n, Deployed: &e}, r.now)
	}
	r.step()
	for i, v := range s {
		entries := r.plane.table(v.ID, model.DataplaneOriginal).Entries
		if len(entries) != 1 || entries[0].NamespaceIP != inSubnet(i, 2) {
			t.Errorf("%s has %+v", v.ID, entries)
		}
	}
}
