// Package version says which build a program is. The Makefile sets Version at
// link time; a plain `go build` leaves "dev".
package version

// Version of this build, such as v1.2.0 or v1.2.0-3-gabcdef1.
var Version = "dev"
