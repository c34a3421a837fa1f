// Package e2e tests the whole system as a user and a network see it: root,
// cluster manager and two workers as separate processes in separate network
// namespaces, each worker with its own containerd, driven with curl.
//
// Needs root, containerd, runc and iptables: sudo make e2e.
package e2e
