package linux

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

const (
	vethPrefix = "oakv"
	insideName = "eth0"
	// carrierPatience bounds awaitCarrier.
	carrierPatience = 500 * time.Millisecond
)

func vethName(attachment string) string {
	h := fnv.New64a()
	h.Write([]byte(attachment)) // never fails
	return fmt.Sprintf("%s%010x", vethPrefix, h.Sum64()&0xffffffffff)
}

func isVeth(name string) bool { return strings.HasPrefix(name, vethPrefix) }

// Attach gives the namespace of a.Pid the interface eth0. It refuses a pid
// that is not the process that a describes: pids are used again.
func (h *Host) Attach(ctx context.Context, a host.Attachment) (host.Attached, error) {
	if err := checkAttachment(a); err != nil {
		return host.Attached{}, err
	}
	if err := ctx.Err(); err != nil {
		return host.Attached{}, err
	}
	got, err := identify(a)
	if err != nil {
		return host.Attached{}, err
	}
	bridge, err := h.nl.LinkByName(rules.Bridge)
	if err != nil {
		return host.Attached{}, fmt.Errorf("attach %s: %s is not there yet: %w: %w", a.Name, rules.Bridge, errs.Unavailable, err)
	}
	f, err := os.Open(netnsPath(a.Pid))
	if err != nil {
		return host.Attached{}, fmt.Errorf("attach %s: %w: %w", a.Name, errs.NotFound, err)
	}
	defer f.Close()
	inside, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return host.Attached{}, fmt.Errorf("attach %s: %w: %w", a.Name, errs.Unavailable, err)
	}
	defer inside.Close()
	if a.MTU == 0 {
		a.MTU = bridge.Attrs().MTU
	}
	if err := h.pair(a, bridge, inside, int(f.Fd())); err != nil {
		return host.Attached{}, fmt.Errorf("attach %s: %w", a.Name, err)
	}
	h.awaitCarrier(ctx, inside, a.Name)
	got.Veth = vethName(a.Name)
	return got, nil
}

func checkAttachment(a host.Attachment) error {
	var p errs.Problems
	if a.Name == "" {
		p = append(p, errs.Problem{Path: "name", Message: "must not be empty"})
	}
	if a.Pid <= 0 {
		p = append(p, errs.Problem{Path: "pid", Value: strconv.Itoa(a.Pid), Message: "must be a process"})
	}
	if !a.Address.IsValid() || !a.Address.Addr().Is4() {
		p = append(p, errs.Problem{Path: "address", Value: a.Address.String(), Message: "must be IPv4"})
	}
	if !a.Gateway.Is4() {
		p = append(p, errs.Problem{Path: "gateway", Value: a.Gateway.String(), Message: "must be IPv4"})
	}
	return p.Err()
}

// pair makes the two ends, or takes the ones that are there: a host end whose
// other end is in that namespace is ours from before.
func (h *Host) pair(a host.Attachment, bridge netlink.Link, inside *netlink.Handle, ns int) error {
	name := vethName(a.Name)
	outer, err := h.nl.LinkByName(name)
	inner, innerErr := inside.LinkByName(insideName)
	whole := err == nil && innerErr == nil && outer.Attrs().ParentIndex == inner.Attrs().Index && inner.Attrs().ParentIndex == outer.Attrs().Index
	if !whole {
		if err == nil {
			if err := ignoreAbsent(h.nl.LinkDel(outer)); err != nil {
				return err
			}
		} else if innerErr == nil {
			return fmt.Errorf("the namespace has an interface %s already: %w", insideName, errs.Conflict)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.MasterIndex = name, a.MTU, bridge.Attrs().Index
		if err := h.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: insideName, PeerNamespace: netlink.NsFd(ns), PeerMTU: uint32(a.MTU)}); err != nil {
			return fmt.Errorf("make %s: %w: %w", name, errs.Unavailable, err)
		}
		outer, err = h.nl.LinkByName(name)
		inner, innerErr = inside.LinkByName(insideName)
		if err := errors.Join(err, innerErr); err != nil {
			return fmt.Errorf("look at %s: %w: %w", name, errs.Unavailable, err)
		}
	}
	return errors.Join(h.raiseOuter(outer, bridge, a), raiseInner(inside, inner, a))
}

func (h *Host) raiseOuter(outer, bridge netlink.Link, a host.Attachment) error {
	var err error
	if outer.Attrs().MasterIndex != bridge.Attrs().Index {
		err = h.nl.LinkSetMaster(outer, bridge)
	}
	if outer.Attrs().MTU != a.MTU {
		err = errors.Join(err, h.nl.LinkSetMTU(outer, a.MTU))
	}
	if outer.Attrs().Flags&net.FlagUp == 0 {
		err = errors.Join(err, h.nl.LinkSetUp(outer))
	}
	// With bridge-nf-call-iptables (Docker sets it), a frame whose destination
	// was translated to its own sender never leaves the bridge, which returns
	// frames to the port they came from in hairpin mode only.
	if p, infoErr := h.nl.LinkGetProtinfo(outer); infoErr != nil || !p.Hairpin {
		err = errors.Join(err, h.nl.LinkSetHairpin(outer, true))
	}
	if outer.Attrs().Alias != a.Name {
		err = errors.Join(err, h.nl.LinkSetAlias(outer, a.Name))
	}
	if err != nil {
		return fmt.Errorf("set up %s: %w: %w", outer.Attrs().Name, errs.Unavailable, err)
	}
	return nil
}

func raiseInner(inside *netlink.Handle, inner netlink.Link, a host.Attachment) error {
	lo, err := inside.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = inside.LinkSetUp(lo)
	}
	if inner.Attrs().MTU != a.MTU {
		err = errors.Join(err, inside.LinkSetMTU(inner, a.MTU))
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: a.Address.Addr().AsSlice(), Mask: net.CIDRMask(a.Address.Bits(), 32)}}
	err = errors.Join(err, inside.AddrReplace(inner, address))
	if inner.Attrs().Flags&net.FlagUp == 0 {
		err = errors.Join(err, inside.LinkSetUp(inner))
	}
	err = errors.Join(err, inside.RouteReplace(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: a.Gateway.AsSlice(),
		Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))}))
	if err != nil {
		return fmt.Errorf("set up %s: %w: %w", insideName, errs.Unavailable, err)
	}
	return nil
}

// awaitCarrier returns when both ends carry packets, which the kernel arranges
// a moment after they were raised: what a container sends before is lost, and
// TCP tries again only after a second. A pair that takes longer than
// carrierPatience is taken as it is.
func (h *Host) awaitCarrier(ctx context.Context, inside *netlink.Handle, name string) {
	ctx, cancel := context.WithTimeout(ctx, carrierPatience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	carries := func(nl *netlink.Handle, link string) bool {
		l, err := nl.LinkByName(link)
		return err == nil && l.Attrs().OperState == netlink.OperUp
	}
	for !carries(h.nl, vethName(name)) || !carries(inside, insideName) || !carries(h.nl, rules.Bridge) {
		select {
		case <-ctx.Done():
			h.log.Warn("an attached container has no carrier yet", "container", name)
			return
		case <-tick.C:
		}
	}
}

// Detach removes the pair. With the namespace gone, the kernel has done it.
func (h *Host) Detach(ctx context.Context, a host.Attachment) error {
	link, err := h.nl.LinkByName(vethName(a.Name))
	if err != nil {
		return ignoreAbsent(err)
	}
	return ignoreAbsent(h.nl.LinkDel(link))
}

// Alive compares what is recorded in a with the process that has the pid now.
func (h *Host) Alive(ctx context.Context, a host.Attachment) (bool, error) {
	_, err := identify(a)
	if errors.Is(err, errs.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// identify reads the process's start and namespace, or NotFound when it is
// gone or another one has its number.
func identify(a host.Attachment) (host.Attached, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.Pid))
	if err != nil {
		return host.Attached{}, gone(a, err)
	}
	start, zombie, err := parseStat(string(stat))
	if err != nil {
		return host.Attached{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(netnsPath(a.Pid), &st); err != nil {
		return host.Attached{}, gone(a, err)
	}
	if zombie || (a.StartTime != 0 && a.StartTime != start) || (a.Netns != 0 && a.Netns != st.Ino) {
		return host.Attached{}, fmt.Errorf("process %d is not the one of %s any more: %w", a.Pid, a.Name, errs.NotFound)
	}
	return host.Attached{StartTime: start, Netns: st.Ino}, nil
}

func gone(a host.Attachment, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d of %s: %w: %w", a.Pid, a.Name, errs.NotFound, err)
	}
	return fmt.Errorf("process %d of %s: %w: %w", a.Pid, a.Name, errs.Unavailable, err)
}

// parseStat reads /proc/<pid>/stat. The name in parentheses may hold anything,
// so fields count from the last parenthesis: state is first, start the 20th.
func parseStat(stat string) (start uint64, zombie bool, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, false, fmt.Errorf("process status of %d fields: %w", len(fields), errs.Internal)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("process start: %w: %w", errs.Internal, err)
	}
	return start, fields[0] == "Z" || fields[0] == "X", nil
}

func netnsPath(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }
