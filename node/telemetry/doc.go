// Package telemetry reads what this machine is and how busy it is, from /proc
// and statfs. Nothing is cached but the last CPU count, of which per cent are
// made. Callers: node/clusterlink.
package telemetry
