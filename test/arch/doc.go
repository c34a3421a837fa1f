// Package arch checks the rules of the house with `go list` and the source:
// floors, effects, sizes, names, documentation. It holds tests only. Run it
// with -count=1: the test cache does not see edits in other packages.
package arch
