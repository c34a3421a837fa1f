// Package mqttlink is nodelink.Link over MQTT, through the embedded broker
// (Config.Local) or any other one (Config.URL). It turns topics and payloads of
// api/mqtt into typed messages in convert.go and back; the oddities of original
// agents end there. A payload that makes no sense is dropped, and logged once
// per worker.
//
// It does not decide anything and remembers nothing about workers but which
// ids exist. Messages go out at QoS 0 and nothing is stored for an absent
// worker. Caller: cluster/daemon.
package mqttlink
