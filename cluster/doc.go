// Package cluster is the cluster manager: it joins the parts that do the work
// and runs them. It links neither bbolt nor a broker; cmd/cluster-manager
// hands both in.
package cluster
