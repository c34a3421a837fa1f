// Package golden compares text with files under testdata. Importing it adds
// the flag -update to the test binary: `go test -update` writes the files. A
// test package that defines such a flag itself cannot import this one.
package golden
