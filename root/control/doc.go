// Package control is the only writer of what users ask for: applications,
// services and wanted instances. root/rest calls it; it calls the store and,
// through the two interfaces in below.go, root/assign and root/clusters.
package control
