// Package broker is the MQTT broker inside the cluster manager, for machines
// that bring none of their own. It wraps mochi and closes what that leaves
// open: an agent may use its own node's topics only (its last will included),
// a client that does not read is cut instead of holding up the others, nothing
// is kept for who is not connected, and what a stranger can make it allocate
// is bounded.
//
// The manager itself does not dial: it subscribes and publishes in process
// (Subscribe, Publish), so that no queue of a socket can drop its messages.
//
// mqttlink reaches it through an interface of its own; cluster/daemon runs it.
package broker
