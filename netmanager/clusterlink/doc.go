// Package clusterlink is netmanager's Uplink over MQTT. The wire's oddities
// are in convert.go; nothing here decides anything. The caller is cmd.
package clusterlink
