// Package runtime is what NodeEngine asks of a container runtime: eight
// methods over attempts. An implementation keeps the assignment with the
// container, so that a restarted NodeEngine finds everything by List.
//
// Pure but for the interface. Callers: node/runner. Implementations:
// runtime/containerd and runtime/fakeruntime, both held to runtimetest.
package runtime
