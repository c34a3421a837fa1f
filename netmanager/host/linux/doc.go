// Package linux is host.Host on the kernel: links, routes, neighbours and the
// nftables table through netlink, the rules that other firewalls would
// otherwise contradict through iptables, held packets through NFQUEUE. All of
// it happens in one network namespace, so that several Hosts work on one
// machine. What it made is known by name (oak*, OAK-*, the table oakestra);
// nothing else is touched. cmd/NetManager builds it; tests run it in namespaces.
package linux
