// Package local serves NodeEngine, ours and the original one, on the loopback
// address: paths, statuses and fields are those of api/local. It parses and
// answers; a Network does the work. The caller is netmanager.
package local
