// Package rootlink keeps the one control stream to the root: it dials, says
// who the cluster is and what it holds, and then passes changes both ways. The
// cluster works on alone while the root is away; after every Welcome the root
// is told everything again, so nothing is queued. A root that lost its store
// gets claims; nothing here is ever dropped because of it.
package rootlink
