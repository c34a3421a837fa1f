// Package http is the cluster manager's port 10100: registration of workers in
// the vocabularies of all agent generations, status and probes.
package http
