package hostfake

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"oakestra/netmanager/host"
	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

// Released is one call of Release.
type Released struct {
	Address netip.Addr
	Known   bool
}

// Host is the model. All its methods may be called at any time from any goroutine.
type Host struct {
	mu       sync.Mutex
	table    rules.Ruleset
	desired  rules.Desired
	applied  int
	writes   int
	attached map[string]host.Attachment
	dead     map[int]bool
	mute     map[int]bool
	forgot   []netip.Addr
	closed   []host.Way
	busy     map[netip.Addr]bool
	released []Released
	fail     map[string]error
	unknown  chan netip.Addr
	echoes   chan netip.Addr
	reached  map[netip.Addr]bool
	address  netip.Addr
	mtu      int
}

var _ host.Host = (*Host)(nil)

// New is a machine at 192.0.2.1 with an MTU of 1500.
func New() *Host {
	return &Host{attached: map[string]host.Attachment{}, dead: map[int]bool{}, mute: map[int]bool{}, busy: map[netip.Addr]bool{},
		fail: map[string]error{}, unknown: make(chan netip.Addr, 256), echoes: make(chan netip.Addr, 256), reached: map[netip.Addr]bool{}, address: netip.MustParseAddr("192.0.2.1"), mtu: 1500}
}

// SetUnderlay changes what Underlay answers.
func (h *Host) SetUnderlay(a netip.Addr, mtu int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.address, h.mtu = a, mtu
}

// Fail makes the named method return err until it is called with nil.
func (h *Host) Fail(method string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.fail, method)
		return
	}
	h.fail[method] = err
}

// Kill ends the process: Alive is false from then on, Attach is refused.
func (h *Host) Kill(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead[pid] = true
}

// Ask is a first packet to the address. It says whether it was held, as it is
// only when no rule knows the address.
func (h *Host) Ask(a netip.Addr) bool {
	h.mu.Lock()
	known := slices.ContainsFunc(h.desired.Services, func(s rules.Service) bool { return s.Address == a })
	h.mu.Unlock()
	if known {
		return false
	}
	h.unknown <- a
	return true
}

// Use says whether flows to the service address exist.
func (h *Host) Use(a netip.Addr, inUse bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy[a] = inUse
}

// Desired is what was applied last.
func (h *Host) Desired() rules.Desired {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.desired
}

// Applied counts calls of Apply, Writes those that changed something.
func (h *Host) Applied() (applied, writes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.applied, h.writes
}

// Attachments lists what is attached, by name.
func (h *Host) Attachments() []host.Attachment {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]host.Attachment, 0, len(h.attached))
	for _, name := range slices.Sorted(maps.Keys(h.attached)) {
		out = append(out, h.attached[name])
	}
	return out
}

// Forgotten lists the calls of Forget in order.
func (h *Host) Forgotten() []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.forgot)
}

// Released lists the calls of Release in order.
func (h *Host) Released() []Released {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.released)
}

// Run waits for ctx, as the real one does.
func (h *Host) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Check fails only on demand.
func (h *Host) Check(ctx context.Context, n rules.Node) error { return h.failing("Check") }

func (h *Host) failing(method string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fail[method]
}

// Underlay answers what SetUnderlay said.
func (h *Host) Underlay(ctx context.Context, iface string) (netip.Addr, int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.address, h.mtu, h.fail["Underlay"]
}

// Apply keeps d and compiles it, so that what the kernel refuses is refused here.
func (h *Host) Apply(ctx context.Context, d rules.Desired) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.applied++
	if err := h.fail["Apply"]; err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	want := rules.Compile(d, rules.Caps{ClampMSS: true})
	if !rules.Diff(h.table, want).Empty() {
		h.writes++
	}
	h.table, h.desired = want, d
	return nil
}

// Attach records the attachment; start time and namespace derive from the pid.
func (h *Host) Attach(ctx context.Context, a host.Attachment) (host.Attached, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail["Attach"]; err != nil {
		return host.Attached{}, err
	}
	if !h.desired.Node.Subnet.IsValid() {
		return host.Attached{}, fmt.Errorf("attach %s: no bridge yet: %w", a.Name, errs.Unavailable)
	}
	got := host.Attached{StartTime: uint64(a.Pid) * 10, Netns: uint64(a.Pid) + 4026531840, Veth: "oakv" + a.Name}
	if !h.alive(a) {
		return host.Attached{}, fmt.Errorf("process %d of %s: %w", a.Pid, a.Name, errs.NotFound)
	}
	a.StartTime, a.Netns = got.StartTime, got.Netns
	h.attached[a.Name] = a
	return got, nil
}

func (h *Host) alive(a host.Attachment) bool {
	return a.Pid > 0 && !h.dead[a.Pid] && (a.StartTime == 0 || a.StartTime == uint64(a.Pid)*10) &&
		(a.Netns == 0 || a.Netns == uint64(a.Pid)+4026531840)
}

// Detach forgets the attachment.
func (h *Host) Detach(ctx context.Context, a host.Attachment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail["Detach"]; err != nil {
		return err
	}
	delete(h.attached, a.Name)
	return nil
}

// Alive is true until Kill.
func (h *Host) Alive(ctx context.Context, a host.Attachment) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alive(a), h.fail["Alive"]
}

// Mute says that nothing listens in the process's namespace, or that something
// does, which is so by itself.
func (h *Host) Mute(pid int, mute bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mute[pid] = mute
}

// Listens is true unless Mute said otherwise.
func (h *Host) Listens(ctx context.Context, a host.Attachment) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.mute[a.Pid] && h.alive(a), h.fail["Listens"]
}

// Forget records the address.
func (h *Host) Forget(ctx context.Context, container netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgot = append(h.forgot, container)
	return h.fail["Forget"]
}

// Reroute records the ways.
func (h *Host) Reroute(ctx context.Context, closed []host.Way) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = append(h.closed, closed...)
	return h.fail["Reroute"]
}

// Closed lists the ways of all calls of Reroute.
func (h *Host) Closed() []host.Way {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.closed)
}

// Idle lists the addresses that Use did not mark.
func (h *Host) Idle(ctx context.Context, services []netip.Addr) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail["Idle"]; err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(services), func(a netip.Addr) bool { return h.busy[a] }), nil
}

// Reach says whether a worker's bridge answers; none does by itself.
func (h *Host) Reach(bridge netip.Addr, answers bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reached[bridge] = answers
}

// Echo has what Reach named, and the own bridge, answer at once.
func (h *Host) Echo(ctx context.Context, to []netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range to {
		if h.reached[a] || h.desired.Node.Subnet.IsValid() && a == rules.Gateway(h.desired.Node.Subnet) {
			select {
			case h.echoes <- a:
			default: // nobody listens
			}
		}
	}
	return h.fail["Echo"]
}

// Echoes delivers the answers.
func (h *Host) Echoes() <-chan netip.Addr { return h.echoes }

// Unknown delivers what Ask asked.
func (h *Host) Unknown() <-chan netip.Addr { return h.unknown }

// Release records the call.
func (h *Host) Release(address netip.Addr, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = append(h.released, Released{address, known})
}

// Remove empties the machine.
func (h *Host) Remove(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail["Remove"]; err != nil {
		return err
	}
	h.table, h.desired, h.attached = rules.Ruleset{}, rules.Desired{}, map[string]host.Attachment{}
	return nil
}
