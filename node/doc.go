// Package node is NodeEngine: it joins a cluster, runs what the cluster asks
// for and reports. It wires runner and clusterlink together and knows neither
// containerd nor flags; cmd/NodeEngine builds the effects.
//
// When it stops, containers run on; when it starts, it adopts them.
package node
