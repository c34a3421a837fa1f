// Package root is the system manager: the REST API for users, the links to
// clusters, and the decision which cluster runs what. It is put together here;
// effects (the store, listeners, files) are made in cmd/system-manager.
package root
