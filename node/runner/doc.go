// Package runner makes what runs on this worker equal what the cluster asked
// for. It keeps one record per attempt (on disk, so that a crash in the middle
// of a pull is resumed), looks at the containers, plans one step per attempt
// (pure), and applies the steps concurrently.
//
// States of an attempt only grow; a record stays until the cluster deletes it.
// On start nothing is stopped: containers are adopted with their processes,
// and after a reboot they are made to run again.
//
// Callers: cmd/NodeEngine runs it, node/clusterlink commands and reads it.
package runner
