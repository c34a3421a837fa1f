// Package storetest is the contract of root/store as tests: every backend runs
// Run. It checks what each aggregate promises, that a descriptor is stored
// whole or not at all, that concurrent writers lose nothing, and that what was
// acknowledged is there after the store was opened again.
package storetest
