package tables

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// hosted is a service with two instances on one worker, to which a worker of
// another cluster talks.
func hosted(t *testing.T) (r *rig, host *agent, first nodelink.Endpoint) {
	r = newRig(t, nil)
	s := service(1, 2)
	r.plane.setService(s)
	host = r.node(0)
	host.report()
	first = host.ep(s, 0, 0, 1)
	host.deploy(first)
	host.deploy(host.ep(s, 1, 1, 1))
	r.plane.rootPeers(s.ID, []nodelink.Peer{{Node: "abroad/n7", HostIP: underlay(7), HostPort: 50103, Subnet: subnet26(7), Dataplane: model.DataplaneVXLAN}})
	r.calm()
	return r, host, first
}

// TestLeaveWaitsForOtherClusters: their workers send to the instance until they
// have the slice without it.
func TestLeaveWaitsForOtherClusters(t *testing.T) {
	r, host, e := hosted(t)
	before := r.slices[len(r.slices)-1]
	r.plane.sliceApplied(before.Service, "abroad", before.Version)
	done := make(chan struct{})
	r.plane.leave(attempt(e), done, r.now)
	r.step()
	host.deliver()
	after := r.slices[len(r.slices)-1]
	if after.Version <= before.Version || len(after.Endpoints) != 2 || after.Endpoints[0].Unlisted || !after.Endpoints[1].Unlisted {
		t.Fatalf("slice after the leave: %+v", after)
	}
	if closed(done) {
		t.Fatal("leave did not wait for the other cluster")
	}
	r.plane.sliceApplied(after.Service, "elsewhere", after.Version)
	r.step()
	if closed(done) {
		t.Fatal("leave ends when a cluster that does not talk to the service has the slice")
	}
	r.plane.sliceApplied(after.Service, "abroad", after.Version)
	r.step()
	if !closed(done) {
		t.Fatal("leave waits although the other cluster has the slice")
	}
}

// TestLeaveDoesNotWaitForEverAbroad: a cluster that is away, or does not know
// the message, costs 2 s.
func TestLeaveDoesNotWaitForEverAbroad(t *testing.T) {
	r, host, e := hosted(t)
	done := make(chan struct{})
	r.plane.leave(attempt(e), done, r.now)
	r.step()
	host.deliver()
	r.pass(leaveWait - time.Millisecond)
	if closed(done) {
		t.Fatal("leave did not wait")
	}
	r.pass(time.Millisecond)
	if !closed(done) {
		t.Fatal("leave waits for ever")
	}
}

// TestFlowsToWhatLeavesAbroadGoOn: a worker of another cluster whose instance
// gets no new flows stays a peer until the instance is gone.
func TestFlowsToWhatLeavesAbroadGoOn(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 0)
	client := r.node(0)
	client.report()
	client.ask(nodelink.TableQuery{Name: s.Name.String(), Key: s.Name.String()})
	slots := service(1, 2).Instances
	end := func(number, node int, unlisted bool) SliceEndpoint {
		return SliceEndpoint{Number: number, InstanceAddress: slots[number], NamespaceIP: inSubnet(node, 2), Node: model.NodeID(fmt.Sprint("n", node)),
			HostIP: underlay(node), HostPort: 50103, Subnet: subnet26(node), Dataplane: model.DataplaneVXLAN, Unlisted: unlisted}
	}
	hold := func(when string, version uint64, peer bool, backend string, list ...SliceEndpoint) {
		t.Helper()
		r.plane.rootTable(RootTable{Query: s.Name.String(), Known: true, Service: s.ID, Name: s.Name, Address: s.Address,
			Slices: []RootSlice{{Cluster: "abroad", Version: version, Endpoints: list}}}, r.now)
		r.calm()
		if _, there := client.peers["abroad/n5"]; there != peer {
			t.Errorf("%s: n5 is a peer: %v, want %v", when, there, peer)
		}
		if e := client.tables[s.ID].Entries; len(e) != 1 || string(e[0].Node) != backend {
			t.Errorf("%s: new flows go to %+v, want %s", when, e, backend)
		}
	}
	hold("runs", 1, true, "abroad/n5", end(0, 5, false))
	hold("replaced", 2, true, "abroad/n6", end(0, 6, false), end(0, 5, true))
	hold("gone", 3, false, "abroad/n6", end(0, 6, false))
}

// TestATableOfOthersIsAcknowledgedOnceItIsUsed: not before the workers here
// have it, and the same once.
func TestATableOfOthersIsAcknowledgedOnceItIsUsed(t *testing.T) {
	r := newRig(t, nil)
	s := service(1, 0)
	client := r.node(0)
	client.report()
	client.ask(nodelink.TableQuery{Name: s.Name.String(), Key: s.Name.String()})
	table := func(version uint64, hosts ...byte) RootTable {
		sl := RootSlice{Cluster: "abroad", Version: version}
		for _, h := range hosts {
			sl.Endpoints = append(sl.Endpoints, SliceEndpoint{Number: int(h), InstanceAddress: service(1, 3).Instances[int(h)],
				NamespaceIP: inSubnet(5, int(h)+2), Node: "n5", HostIP: underlay(5), HostPort: 50103, Subnet: subnet26(5), Dataplane: model.DataplaneVXLAN})
		}
		return RootTable{Query: s.Name.String(), Known: true, Service: s.ID, Name: s.Name, Address: s.Address,
			Slices: []RootSlice{sl, {Cluster: "away", Version: 3, Stale: true}}}
	}
	r.plane.rootTable(table(7, 0, 1), r.now)
	r.calm()
	r.applied = nil
	if got := len(client.tables[s.ID].Entries); got != 2 {
		t.Fatalf("the client balances over %d", got)
	}
	r.plane.rootTable(table(8, 1), r.now)
	r.step()
	if len(r.applied) != 0 {
		t.Fatalf("acknowledged before the worker has it: %v", r.applied)
	}
	client.deliver()
	want := []map[model.ClusterID]uint64{{"abroad": 8}}
	if diff := cmp.Diff(want, r.applied); diff != "" {
		t.Errorf("acknowledged (-want +got):\n%s", diff)
	}
	r.plane.rootTable(table(8, 1), r.now)
	r.calm()
	if len(r.applied) != 1 {
		t.Errorf("the same table was acknowledged again: %v", r.applied)
	}
}
