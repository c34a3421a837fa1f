// Package host is what NetManager needs of a machine. linux is the kernel,
// hostfake a model of it in memory; both pass hosttest.
package host
