// Package testkit holds what tests of many packages need: a logger that writes
// to the test, waiting with a bound, golden files, and skips that say what is
// left out and how to run it. No domain nouns. Only tests import it.
package testkit
