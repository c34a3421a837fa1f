// Package swarm is many workers in one process: each registers over HTTP,
// holds one MQTT session and reports as a NodeEngine does, ours or an original
// one, but its containers exist in memory only. A worker can be switched off
// (its machine says nothing more), cut off (its network is gone, its
// containers go on) and made to connect again.
//
// What is not simulated: NetManager (workers say that they have none), image
// pulls, and the load of containers. A container says the time of its report,
// in milliseconds, as its bytes of disk: so whoever reads the API knows how
// old what it shows is.
//
// Callers: cmd/oak/sim.
package swarm
