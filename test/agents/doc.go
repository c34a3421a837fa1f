// Package agents plays the original agents of a worker, NodeEngine and
// NetManager, as they behave on the wire: HTTP registration, MQTT with their
// client ids, qualities and topics, strict decoding, one task per slot, late and
// doubled words, no epochs. There is no container behind it.
//
// What differs between generations is in Generation. Its tests run them against
// the real parts of a cluster manager: fleet, tables, mqttlink, the embedded
// broker and the HTTP port. Callers: tests only.
package agents
