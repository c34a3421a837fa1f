// Package containerd runs attempts with containerd, the machine's own or a
// private one that this package starts (Managed). Works with daemons from 1.6.
//
// The assignment is an extension of the container; labels hold ids only. Each
// container has its own network namespace, a cgroup below /oakestra/<node> and
// a log file per attempt, which the shim writes: containers and their output
// outlive NodeEngine and containerd. A creation or a start that has begun is
// not cut off by its caller, since containerd 1.6 leaves half of it behind; what
// a killed caller left is swept before the task is made again. Everything lies in the namespace
// "oakestra"; nothing else is touched.
//
// Callers: cmd/NodeEngine.
package containerd
