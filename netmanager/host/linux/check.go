package linux

import (
	"context"
	"fmt"
	"net"
	"os/exec"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

// Check lists what keeps this machine from being a worker.
func (h *Host) Check(ctx context.Context, n rules.Node) error {
	var p errs.Problems
	for _, tool := range []string{"iptables", "iptables-save", "iptables-restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			p = append(p, errs.Problem{Path: tool, Message: "is missing; run: apt-get install iptables"})
			break
		}
	}
	if _, err := exec.LookPath("ip"); err != nil {
		p = append(p, errs.Problem{Path: "ip", Message: "is missing; run: apt-get install iproute2"})
	}
	if _, err := h.table.conn.ListTablesOfFamily(nftables.TableFamilyIPv4); err != nil {
		p = append(p, errs.Problem{Path: "nf_tables", Value: err.Error(), Message: "the kernel does not answer; run: modprobe nf_tables"})
	}
	if !n.Direct {
		if err := h.checkPort(n.Port); err != nil {
			p = append(p, errs.Problem{Path: fmt.Sprintf("udp port %d", portOf(n)), Value: err.Error(),
				Message: fmt.Sprintf("is taken by another program; find it with: ss -lunp sport = :%d", portOf(n))})
		}
	}
	return p.Err()
}

func portOf(n rules.Node) int {
	if n.Port == 0 {
		return rules.DefaultPort
	}
	return int(n.Port)
}

// checkPort binds the port, unless our own tunnel holds it.
func (h *Host) checkPort(port uint16) error {
	number := portOf(rules.Node{Port: port})
	if link, err := h.nl.LinkByName(rules.Tunnel); err == nil {
		if v, ok := link.(*netlink.Vxlan); ok && v.Port == number {
			return nil
		}
	}
	return h.in(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: number})
		if err != nil {
			return err
		}
		return c.Close()
	})
}
