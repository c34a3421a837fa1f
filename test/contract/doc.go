// Package contract joins the two ends of a link in one process. Of the network
// plane: the cluster manager's part with its broker, and whole NetManagers on
// machines in memory; what one end sends, the other end's own code reads. Of
// the API: a whole root, and every operation of its own OpenAPI document as
// every kind of caller. The package has tests only; it needs no root and no
// container runtime.
package contract
