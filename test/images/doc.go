// Package images builds the container images of the quick start from Debian
// packages and serves them from a registry on this machine, so that the demo
// and the end-to-end tests need no image registry on the internet. The images
// keep the names the descriptor uses; NodeEngine's mirror setting leads there.
//
// Callers: test/images/demo-registry, which the demo and test/site start.
package images
