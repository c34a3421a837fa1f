package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/pkg/errs"
)

// madeMark starts the name of an empty chain that says: we brought the system
// chain named after it into being. It lives as long as what it speaks of, in
// the same table, so that it is true after restarts, reboots and flushes.
const madeMark = "OAK-MADE-"

// builtIn is a chain of iptables itself, which comes into being when it is used.
func builtIn(chain string) bool { return chain != "DOCKER-USER" }

const (
	batchGeneration = 1 // NFNL_BATCH_GENID
	attempts        = 5
)

// tableChain is a chain of another table, as far as its removal is concerned.
type tableChain struct {
	name    string
	uses    uint32 // rules in it and jumps to it
	accepts bool
	hooked  bool
}

// dropEmpty deletes those of the chains that iptables-nft made for us and that
// hold nothing by now, and the table with the last of what is in it. The batch
// names the generation that was looked at: had somebody added a rule since,
// the kernel would refuse it.
func dropEmpty(table string, chains []string) error {
	if len(chains) == 0 {
		return nil
	}
	var err error
	for range attempts {
		if err = dropOnce(table, chains); !errors.Is(err, unix.ERESTART) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remove the empty chains of ip %s: %w: %w", table, errs.Unavailable, err)
	}
	return nil
}

func dropOnce(table string, made []string) error {
	// A connection of its own: a refused batch leaves answers behind.
	c, err := mdl.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	gen, err := generation(c)
	if err != nil {
		return err
	}
	have, err := tableChains(c, table)
	if err != nil || len(have) == 0 {
		return err
	}
	content, err := contentOf(c, table)
	if err != nil {
		return err
	}
	var drop []string
	for _, x := range have {
		if slices.Contains(made, x.name) && x.hooked && x.accepts && x.uses == 0 {
			drop = append(drop, x.name)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	return sendBatch(c, gen, deletions(table, drop, int(content) == len(drop)))
}

// chainsOf lists what chains the IPv4 table holds, none without the table. Like
// dropEmpty it works in the namespace of the thread.
func chainsOf(table string) ([]string, error) {
	c, err := mdl.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w: %w", errs.Unavailable, err)
	}
	defer func() { _ = c.Close() }()
	chains, err := tableChains(c, table)
	if err != nil {
		return nil, fmt.Errorf("list chains of ip %s: %w: %w", table, errs.Unavailable, err)
	}
	var out []string
	for _, x := range chains {
		out = append(out, x.name)
	}
	return out, nil
}

// tableChains lists the chains of an IPv4 table.
func tableChains(c *mdl.Conn, table string) ([]tableChain, error) {
	reply, err := c.Execute(message(unix.NFT_MSG_GETCHAIN, mdl.Request|mdl.Dump))
	if err != nil {
		return nil, err
	}
	var out []tableChain
	for _, m := range reply {
		if len(m.Data) < 4 || text(m.Data[4:], unix.NFTA_CHAIN_TABLE) != table {
			continue
		}
		out = append(out, tableChain{name: text(m.Data[4:], unix.NFTA_CHAIN_NAME), uses: number(m.Data[4:], unix.NFTA_CHAIN_USE),
			hooked:  attribute(m.Data[4:], unix.NFTA_CHAIN_HOOK) != nil,
			accepts: number(m.Data[4:], unix.NFTA_CHAIN_POLICY) == 1})
	}
	return out, nil
}

// contentOf counts chains, sets and whatever else is in the table.
func contentOf(c *mdl.Conn, table string) (uint32, error) {
	reply, err := c.Execute(message(unix.NFT_MSG_GETTABLE, mdl.Request, mdl.Attribute{Type: unix.NFTA_TABLE_NAME, Data: []byte(table + "\x00")}))
	if err != nil {
		return 0, err
	}
	for _, m := range reply {
		if len(m.Data) >= 4 {
			return number(m.Data[4:], unix.NFTA_TABLE_USE), nil
		}
	}
	return 0, fmt.Errorf("no answer: %w", errs.Internal)
}

func deletions(table string, chains []string, whole bool) []mdl.Message {
	name := []byte(table + "\x00")
	if whole {
		return []mdl.Message{message(unix.NFT_MSG_DELTABLE, mdl.Request, mdl.Attribute{Type: unix.NFTA_TABLE_NAME, Data: name})}
	}
	var out []mdl.Message
	for _, c := range chains {
		out = append(out, message(unix.NFT_MSG_DELCHAIN, mdl.Request, mdl.Attribute{Type: unix.NFTA_CHAIN_TABLE, Data: name},
			mdl.Attribute{Type: unix.NFTA_CHAIN_NAME, Data: []byte(c + "\x00")}))
	}
	return out
}

// sendBatch sends the messages as one transaction upon the generation.
func sendBatch(c *mdl.Conn, gen uint32, messages []mdl.Message) error {
	edge := func(kind int, attrs ...mdl.Attribute) mdl.Message {
		data, _ := mdl.MarshalAttributes(attrs) // lengths are ours
		return mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(kind), Flags: mdl.Request},
			Data: append([]byte{unix.AF_UNSPEC, 0, 0, unix.NFNL_SUBSYS_NFTABLES}, data...)}
	}
	batch := []mdl.Message{edge(unix.NFNL_MSG_BATCH_BEGIN, mdl.Attribute{Type: batchGeneration, Data: binary.BigEndian.AppendUint32(nil, gen)})}
	batch = append(batch, messages...)
	batch[len(batch)-1].Header.Flags |= mdl.Acknowledge
	batch = append(batch, edge(unix.NFNL_MSG_BATCH_END))
	if _, err := c.SendMessages(batch); err != nil {
		return err
	}
	_, err := c.Receive()
	return err
}

func message(kind int, flags mdl.HeaderFlags, attrs ...mdl.Attribute) mdl.Message {
	data, _ := mdl.MarshalAttributes(attrs) // lengths are ours
	return mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: flags},
		Data: append([]byte{unix.NFPROTO_IPV4, 0, 0, 0}, data...)}
}

func text(data []byte, kind uint16) string {
	return strings.TrimSuffix(string(attribute(data, kind)), "\x00")
}

// number is 0 for an attribute that is not there.
func number(data []byte, kind uint16) uint32 {
	if b := attribute(data, kind); len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}
