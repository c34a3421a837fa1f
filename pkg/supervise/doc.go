// Package supervise keeps child processes running: it starts them in order,
// restarts one that ends with a growing pause, and stops them in reverse order
// with TERM, then KILL. It also remembers processes across programs in pid
// files that cannot be fooled by a reused pid.
//
// It knows nothing of what the children do. Caller: cmd/oak.
package supervise
