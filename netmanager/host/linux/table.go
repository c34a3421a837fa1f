package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

const (
	// One netlink attribute holds 64 KiB, so an element list is cut well below.
	elementsPerMessage = 500
	socketBuffer       = 64 << 20 // the kernel refuses large batches with the default
)

var nftTable = &nftables.Table{Name: rules.Table, Family: nftables.TableFamilyIPv4}

// table is the nftables side. seen is what the kernel held at generation gen:
// as long as the kernel's number has not moved, nobody has changed anything.
type table struct {
	mu   sync.Mutex // Release comes from another goroutine than Apply
	conn *nftables.Conn
	gens *mdl.Conn
	seen rules.Ruleset
	gen  uint32
	good bool
}

func openTable(ns int) (*table, error) {
	buffer := func(c *mdl.Conn) error {
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	}
	conn, err := nftables.New(nftables.WithNetNSFd(ns), nftables.AsLasting(), nftables.WithSockOptions(buffer))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w: %w", errs.Unavailable, err)
	}
	gens, err := mdl.Dial(unix.NETLINK_NETFILTER, &mdl.Config{NetNS: ns})
	if err != nil {
		err = fmt.Errorf("open nftables: %w: %w", errs.Unavailable, err)
		return nil, errors.Join(err, conn.CloseLasting())
	}
	return &table{conn: conn, gens: gens}, nil
}

func (t *table) close() error { return errors.Join(t.conn.CloseLasting(), t.gens.Close()) }

// generation is the kernel's count of nftables transactions in the namespace.
func (t *table) generation() (uint32, error) { return generation(t.gens) }

func generation(c *mdl.Conn) (uint32, error) {
	reply, err := c.Execute(mdl.Message{
		Header: mdl.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: mdl.Request},
		Data:   make([]byte, 4),
	})
	if err != nil {
		return 0, fmt.Errorf("nftables generation: %w: %w", errs.Unavailable, err)
	}
	for _, m := range reply {
		if len(m.Data) < 4 {
			continue
		}
		ad, err := mdl.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, fmt.Errorf("nftables generation: %w: %w", errs.Internal, err)
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), nil
			}
		}
	}
	return 0, fmt.Errorf("nftables generation: %w: no answer", errs.Internal)
}

// observe returns what the kernel holds, read anew only when it has changed.
func (t *table) observe() (rules.Ruleset, error) {
	gen, err := t.generation()
	if err != nil || (t.good && gen == t.gen) {
		return t.seen, err
	}
	t.good = false
	seen, err := dump(t.conn, t.gens)
	if err != nil {
		return seen, err
	}
	t.seen, t.gen, t.good = seen, gen, true
	return seen, nil
}

func (t *table) apply(want rules.Ruleset) (rules.Changes, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have, err := t.observe()
	if err != nil {
		return rules.Changes{}, err
	}
	changes := rules.Diff(have, want)
	if changes.Empty() {
		return changes, nil
	}
	if have.Sets == nil {
		t.create()
	}
	if err := t.write(changes, want); err != nil {
		return changes, err
	}
	if err := t.commit(); err != nil {
		return changes, fmt.Errorf("write the table: %w", err)
	}
	t.seen = want
	return changes, nil
}

// commit sends the batch. The cached view stays good only when ours was the
// one transaction since it was read.
func (t *table) commit() error {
	before := t.gen
	if err := t.conn.Flush(); err != nil {
		t.good = false
		return fmt.Errorf("%w: %w", errs.Unavailable, err)
	}
	gen, err := t.generation()
	t.good = t.good && err == nil && gen == before+1
	t.gen = gen
	return nil
}

func (t *table) create() {
	t.conn.AddTable(nftTable)
	for _, name := range append(rules.Sets(), rules.SetNegative) {
		// Only the definition: no values, so nothing can fail to be encoded.
		_ = t.conn.AddSet(set(name), nil)
	}
}

func (t *table) write(c rules.Changes, want rules.Ruleset) error {
	for _, name := range rules.Sets() {
		if err := chunks(name, c.Gone[name], t.conn.SetDeleteElements); err != nil {
			return err
		}
	}
	for _, name := range c.Remade {
		t.conn.FlushChain(chain(name, rules.Hook{}))
		t.conn.DelChain(chain(name, rules.Hook{}))
	}
	for _, name := range append(append([]string{}, c.Remade...), c.New...) {
		t.conn.AddChain(chain(name, want.Chains[name].Hook))
	}
	for _, name := range c.Rewritten {
		t.conn.FlushChain(chain(name, rules.Hook{}))
	}
	for _, names := range [][]string{c.Remade, c.New, c.Rewritten} {
		for _, name := range names {
			for _, r := range want.Chains[name].Rules {
				t.conn.AddRule(&nftables.Rule{Table: nftTable, Chain: chain(name, rules.Hook{}), Exprs: expressions(r),
					UserData: userdata.AppendString(nil, commentType, r.Text)})
			}
		}
	}
	for _, name := range rules.Sets() {
		if err := chunks(name, c.Added[name], t.conn.SetAddElements); err != nil {
			return err
		}
	}
	for _, name := range c.Old {
		t.conn.FlushChain(chain(name, rules.Hook{}))
	}
	for _, name := range c.Old {
		t.conn.DelChain(chain(name, rules.Hook{}))
	}
	return nil
}

func chunks(name string, elements []rules.Element, send func(*nftables.Set, []nftables.SetElement) error) error {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		if err := send(set(name), setElements(name, elements[:n])); err != nil {
			return fmt.Errorf("set %s: %w: %w", name, errs.Internal, err)
		}
		elements = elements[n:]
	}
	return nil
}

// refuse answers new flows to the address at once, for a while.
func (t *table) refuse(a netip.Addr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.observe(); err != nil {
		return err
	}
	if t.seen.Sets == nil {
		return nil // no table, so nothing is held either
	}
	key := rules.NegativeKey(a)
	if err := t.conn.SetAddElements(set(rules.SetNegative), []nftables.SetElement{{Key: key[:4]}}); err != nil {
		return fmt.Errorf("set %s: %w: %w", rules.SetNegative, errs.Internal, err)
	}
	return t.commit()
}

func (t *table) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.good = false
	have, err := dump(t.conn, t.gens)
	if err != nil || have.Sets == nil {
		return err
	}
	t.conn.DelTable(nftTable)
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("remove the table: %w: %w", errs.Unavailable, err)
	}
	return nil
}

// generationNow asks the kernel; the watch of the iptables rules calls it.
func (t *table) generationNow() (uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.generation()
}
