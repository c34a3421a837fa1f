// Package memlink is nodelink.Link in memory, with the workers' side in the
// same process: whole-system tests run on it, in virtual time, with messages
// lost, doubled and reordered on demand.
//
//	hub := memlink.New()
//	go hub.Run(ctx)
//	node := hub.Node("w1")
//	node.Send(nodelink.Inbound{Report: ...})
//	m, ok := node.Recv(ctx)
//
// Faults are seeded. It never blocks a sender. Callers: tests only.
package memlink
