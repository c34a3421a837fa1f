// Package hostfake is host.Host in memory, for tests of what drives one: it
// keeps what was applied and attached, counts writes, fails on demand and lets
// a test ask for an unknown address. It moves no packets.
package hostfake
