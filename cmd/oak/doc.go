// Command oak is the command line of Oakestra: it runs a whole site on one
// machine (up, stop, down) and speaks to a root's REST API (deploy, apps,
// services, nodes, clusters, ...).
//
// It links none of the daemons: `oak up` starts the four programs that lie
// beside it.
package main
