// Package rollout decides how the instances of a service are brought to a new
// spec: which are replaced now, whether it goes on, and whether it is over.
// Pure: it takes values and returns values. docs/design/rollout.md tells the
// rules. Caller: root/assign, which gives the replaced slots new grants.
package rollout
