// Package model holds the nouns of the domain: Application, Service, Node,
// Cluster, their ids and quantities. Values only: no tags of any encoding, no
// clock, no I/O. Who may write which field is in docs/design/instance.md.
//
// Callers: every daemon. Wire shapes (JSON, protobuf, MQTT) are turned into
// these types in one convert.go per edge.
package model
