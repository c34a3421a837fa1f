// Package mqtt is the contract between a cluster manager and the two agents
// of a worker: the HTTP registration that opens it, the MQTT topics, and their
// JSON payloads. Fields of the original protocol keep its names, types and
// quirks (docs/design/wire.md); fields marked "ours" are extra and ignored by
// original agents.
//
// Only convert.go files (cluster/nodelink/mqttlink, node/clusterlink,
// netmanager/clusterlink) turn these into domain values.
package mqtt
