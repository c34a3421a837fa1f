// Package door is what a system manager's port leads to. While this process
// serves, requests and cluster links go to its own handler and gRPC server;
// while another one does, they are forwarded to that one: requests one by one,
// answers as they come, links connection by connection. While nobody serves,
// requests are answered with 503 and links are closed; both come back.
//
// A request is forwarded once at most, and a link only to a process that says
// it serves, so two that take each other for the holder send nothing in
// circles. A holder sees a forwarded link as coming from the forwarder.
//
// Caller: root.Daemon.
package door
