// Package mqttx is a small MQTT 3.1.1 client: one connection, one reader, no
// timers and no goroutine of its own, so that one process can hold many
// thousands of them. It does not reconnect, does not store and does not send
// again: who needs that uses paho.
//
// Callers: node/swarm.
package mqttx
