// Package local is the contract between NodeEngine and NetManager on one
// worker: HTTP with JSON over 127.0.0.1:6000 or a unix socket. Paths and
// original fields are fixed by the original agents; "ours" are extra.
package local
