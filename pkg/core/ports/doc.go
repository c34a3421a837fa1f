// Package ports reads and writes the port text of a descriptor, such as
// "6080:60/tcp;9000". Pure. Callers: pkg/core/sla, netmanager/local.
package ports
