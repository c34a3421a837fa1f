// Package clusterlink is the worker's end of the conversation with its
// cluster manager: HTTP registration, then MQTT with a report every 2 s, state
// changes as they happen, and the commands deploy, delete and probe. It never
// gives up; containers run on without a cluster.
//
// convert.go alone knows payloads. With an original cluster manager (no
// combined report agreed) it uses the original's messages and words.
//
// Callers: cmd/NodeEngine.
package clusterlink
