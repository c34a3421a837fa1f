// Package rules says what the kernel of a worker must hold: Desired is the
// input of every rule, Compile turns it into a Ruleset, and netmanager/host
// renders that. Pure: no netlink, no exec, no clock. The packet walk is drawn
// on docs/design/overlay.md.
package rules
