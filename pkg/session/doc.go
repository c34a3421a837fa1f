// Package session is what a log or exec session is made of on every part of its
// way: frames, how they lie in a WebSocket message, and a relay between two
// connections.
//
//	stdin, resize, stdin closed  ->  to the command
//	ready, stdout, stderr, end   <-  from it
//
// A message is one byte that says what follows (as in Kubernetes' channel
// protocol), then the bytes or a small JSON object. Nothing is buffered here:
// who sends waits until the next one on the way has taken it, so that a reader
// that stops stops the command's output, and memory does not grow.
//
// Callers: node/sessions, cluster/sessions, root/clusters, root/rest, cmd/oak.
package session
