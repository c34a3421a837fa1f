// Package httpx serves HTTP and gRPC on one port: the first bytes of each
// connection decide which server gets it.
//
// Callers: root (port 10000) and, without gRPC, cluster (port 10100).
package httpx
