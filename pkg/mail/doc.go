// Package mail sends plain texts through an SMTP server. It takes TLS whenever
// the server has it, demands it before a password is sent, and keeps nothing:
// every Send is one connection. Headers cannot be injected: addresses are
// parsed and a subject is encoded.
//
// Caller: cmd/system-manager hands a Server to root/auth.
package mail
