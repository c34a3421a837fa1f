// Package plan decides what the kernel of one node must hold. Pure: Compile is
// a function of a State and gives the same value for the same state, in a
// stable order. The only caller is the loop of netmanager.
package plan
