// Package contract joins the two ends of a link in one process: the cluster
// manager's network plane with its broker, and whole NetManagers on machines in
// memory. What one end sends, the other end's own code reads. The package has
// tests only; it needs no root and no container runtime.
package contract
