// Command NetManager gives this worker's containers their network. It reads
// flags and files, builds the effects and runs the daemon; `NetManager purge`
// takes everything away again.
package main
