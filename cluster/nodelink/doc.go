// Package nodelink is the cluster's link to its workers' agents, as typed
// messages. mqttlink speaks MQTT to real ones (ours and original), memlink is
// the same in memory; linktest runs on both. The link is a doorbell, not a
// ledger: a message may be lost or doubled, and the deploy loop must not care.
package nodelink
