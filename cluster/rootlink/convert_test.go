package rootlink

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/nodelink"
)

// Workers of two clusters may have one id, and this cluster one as well.
func TestWorkersOfOtherClustersAreNamedWithTheirCluster(t *testing.T) {
	got := peersFrom([]*linkv1.Peer{
		{NodeId: "w1", ClusterId: "c1", HostIp: "192.0.2.1", HostPort: 50103, Subnet: "10.18.0.0/26", Dataplane: "vxlan",
			Identities: []*linkv1.Identity{{NamespaceAddress: "10.18.0.2", InstanceAddress: "10.30.0.2", Tenant: "t"}}},
		{NodeId: "w1", ClusterId: "c2"},
	})
	want := []Peer{
		{Node: "c1/w1", HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 50103, Subnet: netip.MustParsePrefix("10.18.0.0/26"), Dataplane: "vxlan",
			Identities: []nodelink.Identity{{NamespaceIP: netip.MustParseAddr("10.18.0.2"), InstanceAddress: netip.MustParseAddr("10.30.0.2"), Tenant: "t"}}},
		{Node: "c2/w1"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
