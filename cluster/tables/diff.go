package tables

import (
	"slices"

	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/model"
)

// diff is what turns a worker that holds from into one that holds to; the
// versions are left to the caller. empty says that there is nothing to do.
func diff(from, to view) (d nodelink.NetState, empty bool) {
	for _, id := range sorted(to.tables) {
		if from.tables[id] != to.tables[id] {
			d.Tables = append(d.Tables, *to.tables[id])
		}
	}
	for _, id := range sorted(to.peers) {
		if from.peers[id] != to.peers[id] {
			d.Peers = append(d.Peers, *to.peers[id])
		}
	}
	d.GoneTables = missing[model.ServiceID](from.tables, to.tables)
	d.GonePeers = missing[model.NodeID](from.peers, to.peers)
	return d, len(d.Tables)+len(d.Peers)+len(d.GoneTables)+len(d.GonePeers) == 0
}

func missing[K ~string, V any](from, to map[K]V) []K {
	var out []K
	for k := range from {
		if _, ok := to[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}
