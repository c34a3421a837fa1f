// Package netclient speaks NetManager's local API (api/local) over HTTP on
// loopback: registration of the worker, network of a container.
//
// Callers: node/runner through runner.Network; node/clusterlink tells it the
// worker's identity through Identify.
package netclient
