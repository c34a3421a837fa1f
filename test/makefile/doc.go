// Package makefile runs the targets of the Makefile that remove things, in a
// copy of it whose programs are stand-ins. It holds tests only.
package makefile
