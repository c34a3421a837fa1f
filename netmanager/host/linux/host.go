package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

// Host is the kernel of one network namespace. Close it when done.
type Host struct {
	cfg   Config
	log   *slog.Logger
	ns    *os.File
	own   bool // the namespace is that of the process: no thread has to enter
	nl    *netlink.Handle
	fdb   *fdb
	table *table
	hold  *hold
	echo  *echo
	fw    *firewall

	underlay underlay // the last choice, for the log
}

var _ host.Host = (*Host)(nil)

// New opens the netlink sockets; it writes nothing. It needs root.
func New(cfg Config, logger *slog.Logger) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	path := cfg.Netns
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w: %w", errs.Unavailable, err)
	}
	h := &Host{cfg: cfg, log: logger, ns: f}
	h.own = inode(path) == inode("/proc/self/ns/net")
	if h.nl, err = netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		f.Close()
		return nil, fmt.Errorf("open netlink: %w: %w", errs.Unavailable, err)
	}
	if h.fdb, err = openFDB(int(f.Fd())); err != nil {
		h.nl.Close()
		f.Close()
		return nil, err
	}
	if h.table, err = openTable(int(f.Fd())); err != nil {
		h.nl.Close()
		return nil, errors.Join(err, h.fdb.close(), f.Close())
	}
	h.hold = newHold(cfg, int(f.Fd()), logger)
	h.echo = newEcho(h.in)
	h.fw = &firewall{queue: cfg.Queue, in: h.in}
	return h, nil
}

// Close frees the sockets. The kernel's state stays.
func (h *Host) Close() error {
	h.nl.Close()
	return errors.Join(h.table.close(), h.fdb.close(), h.ns.Close())
}

// Run reads held packets and answers to echoes, and watches over the iptables rules until ctx ends.
// While it does not run, unknown addresses are refused at once.
func (h *Host) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.hold.run(ctx) })
	g.Go(func() error { return h.echo.run(ctx) })
	g.Go(func() error { return h.watchFirewall(ctx) })
	return g.Wait()
}

// Echo asks bridges of other workers for an answer; it needs Run.
func (h *Host) Echo(ctx context.Context, to []netip.Addr) error { return h.echo.ask(to) }

// Echoes delivers the answers.
func (h *Host) Echoes() <-chan netip.Addr { return h.echo.answers }

// Unknown delivers held addresses, each once per hold.
func (h *Host) Unknown() <-chan netip.Addr { return h.hold.unknown }

// Release lets the packets held for the address go on.
func (h *Host) Release(address netip.Addr, known bool) {
	if !known {
		if err := h.table.refuse(address); err != nil {
			h.log.Warn("remember an unknown address", "address", address, "err", err)
		}
	}
	h.hold.release(address)
}

// Apply makes links, routes and the table match d.
func (h *Host) Apply(ctx context.Context, d rules.Desired) error {
	if err := d.Validate(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.applyLinks(d); err != nil {
		return err
	}
	changes, err := h.table.apply(rules.Compile(d, rules.Caps{ClampMSS: true}))
	if err != nil {
		return err
	}
	if !changes.Empty() {
		h.log.Debug("table written", "chains", len(changes.New)+len(changes.Rewritten), "added", len(changes.Added), "gone", len(changes.Gone))
	}
	if err := h.removePeers(d); err != nil {
		return err
	}
	// Looking at iptables starts programs, so it is left to Run's watch once
	// the rules stand for this node.
	if h.fw.stands(d.Node) {
		return nil
	}
	return h.fw.ensure(d.Node)
}

// Remove takes away everything this package ever made in the namespace.
func (h *Host) Remove(ctx context.Context) error {
	return errors.Join(h.fw.remove(), h.table.remove(), h.removeLinks())
}

// in runs fn on a thread inside the namespace. That thread dies with fn.
func (h *Host) in(fn func() error) error {
	if h.own {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w: %w", errs.Internal, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
