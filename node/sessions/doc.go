// Package sessions serves logs and commands of this worker's containers. The
// cluster rings over MQTT; this dials its port 10100, since a worker may sit
// behind NAT, and speaks pkg/session there until the output, the command or
// the other side ends. A command is killed when nobody is there any more.
//
// What is sent waits until the other side takes it. Nothing here delays
// reports: they have a connection of their own.
//
// Callers: node.Daemon.
package sessions
