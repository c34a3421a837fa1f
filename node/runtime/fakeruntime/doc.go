// Package fakeruntime is a container runtime in memory for tests of what lies
// above it: exits and failures are set by the test, nothing runs.
package fakeruntime
