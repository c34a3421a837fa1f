// Package testkit holds what tests of many packages need: a logger that writes
// to the test, waiting with a bound, and skips that say what is left out and how
// to run it. No domain nouns. Only tests import it. Golden files have a package
// of their own, golden, since it adds a flag to the test binary.
package testkit
