// Package sim measures a site of many workers: it starts a real system-manager
// and real cluster-managers on this machine, simulated workers (node/swarm) in
// processes of their own, takes the steps of a scenario, and says what each
// step cost and whether anything was lost.
//
// It stands beside oak, on the floor of programs: it starts the daemons as
// processes and knows them by their ports only. Its own end-to-end test is in
// test/sim.
//
// Callers: cmd/oak.
package sim
