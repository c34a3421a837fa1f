// Package lifecycle runs the parts of a program together and spaces out tries
// of what fails. Callers: the daemons and their loops.
package lifecycle
