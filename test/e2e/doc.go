// Package e2e tests the whole system as a user and a network see it: root,
// clusters and workers as separate processes in separate network namespaces,
// each worker with its own containerd, driven with curl. TestSite walks through
// the quick start on one cluster, TestTwoClusters through what needs two, and
// TestOneMachine through the life of oak up.
//
// Needs root, containerd, runc and iptables: sudo make e2e.
package e2e
