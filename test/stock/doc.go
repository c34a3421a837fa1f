// Package stock fills the store of a root that does not run, in big batches:
// through the API the same would take minutes. For test/crash and test/bench.
package stock
