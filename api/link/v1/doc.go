// Package linkv1 is the generated code of link.proto, the gRPC link between
// root and clusters. Only root/clusters and cluster/rootlink convert between
// these messages and the domain.
package linkv1
