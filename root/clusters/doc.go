// Package clusters is the root's end of the links to clusters: one Control
// stream per cluster, and the book of what clusters report. It decides
// nothing: what a cluster should run, who it is and which blocks it has is
// asked of a Desk (root/assign).
//
// The Book lives in memory and is rebuilt from reports. Protobuf is seen in
// convert.go alone.
package clusters
