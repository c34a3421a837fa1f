// Package address holds the pools of the overlay's addresses: service and
// instance addresses (10.30.0.0/16), blocks of worker subnets leased to
// clusters (/22 of 10.18.0.0-10.29.255.255), and a cluster's worker subnets
// (/26). Pools are plain data inside one owning loop: no clock, no I/O; what
// is durable is stored by the owner before it is announced.
//
// Callers: root/assign (ServicePool, Blocks), cluster/tables (Subnets).
package address
