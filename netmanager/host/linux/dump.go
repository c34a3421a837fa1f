package linux

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

var setTypes = map[string]struct{ key, data nftables.SetDatatype }{
	rules.SetServices:    {nftables.TypeIPAddr, nftables.TypeVerdict},
	rules.SetKnown:       {key: nftables.TypeIPAddr},
	rules.SetBackends:    {nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeMark), nftables.TypeIPAddr},
	rules.SetIdentities:  {nftables.TypeIPAddr, nftables.TypeIPAddr},
	rules.SetHostPorts:   {nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService), nftables.TypeVerdict},
	rules.SetHostSlots:   {nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark), nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)},
	rules.SetPeers:       {key: nftables.TypeIPAddr},
	rules.SetSenders:     {key: nftables.TypeIPAddr},
	rules.SetTunnelPorts: {key: nftables.TypeInetService},
	rules.SetNegative:    {key: nftables.TypeIPAddr},
}

// set describes a set to the library; it is made anew for each use because the
// library writes an id into it.
func set(name string) *nftables.Set {
	types := setTypes[name]
	s := &nftables.Set{Table: nftTable, Name: name, KeyType: types.key, DataType: types.data, KeyByteOrder: binaryutil.BigEndian}
	s.IsMap = types.data.Name != ""
	if name == rules.SetNegative {
		s.HasTimeout, s.Timeout = true, rules.NegativeTime
	}
	return s
}

func setElements(name string, elements []rules.Element) []nftables.SetElement {
	key, value, verdict := rules.Sizes(name)
	out := make([]nftables.SetElement, len(elements))
	for i := range elements {
		out[i].Key = elements[i].Key[:key]
		switch {
		case verdict:
			out[i].VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: elements[i].Value.Chain}
		case value > 0:
			out[i].Val = elements[i].Value.Data[:value]
		}
	}
	return out
}

// commentType is NFTNL_UDATA_RULE_COMMENT: nft prints such a text beside the rule.
const commentType = 0

var (
	hookNumbers = map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "forward": nftables.ChainHookForward,
		"output": nftables.ChainHookOutput, "postrouting": nftables.ChainHookPostrouting}
	hookNames = map[nftables.ChainHook]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_FORWARD: "forward",
		unix.NF_INET_LOCAL_OUT: "output", unix.NF_INET_POST_ROUTING: "postrouting"}
)

func chain(name string, h rules.Hook) *nftables.Chain {
	c := &nftables.Chain{Name: name, Table: nftTable}
	if h != (rules.Hook{}) {
		c.Hooknum, c.Priority, c.Type = hookNumbers[h.Point], nftables.ChainPriorityRef(nftables.ChainPriority(h.Priority)), nftables.ChainType(h.Type)
	}
	return c
}

// dump reads the table back; Sets is nil when there is none.
func dump(c *nftables.Conn, raw *mdl.Conn) (rules.Ruleset, error) {
	var r rules.Ruleset
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return r, fmt.Errorf("list tables: %w: %w", errs.Unavailable, err)
	}
	found := false
	for _, t := range tables {
		found = found || t.Name == rules.Table
	}
	if !found {
		return r, nil
	}
	r = rules.Ruleset{Chains: map[string]rules.Chain{}, Sets: map[string]map[rules.Key]rules.Value{}}
	for _, name := range rules.Sets() {
		if r.Sets[name], err = dumpSet(raw, name); err != nil {
			return r, err
		}
	}
	return r, dumpChains(c, raw, r)
}

// dumpSet reads a set in raw: the library takes an allocation for each of an
// element's parts, which is most of the time of a resync.
func dumpSet(raw *mdl.Conn, name string) (map[rules.Key]rules.Value, error) {
	data, err := mdl.MarshalAttributes([]mdl.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(rules.Table + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(name + "\x00")},
	})
	if err != nil {
		return nil, fmt.Errorf("list set %s: %w: %w", name, errs.Internal, err)
	}
	reply, err := raw.Execute(mdl.Message{
		Header: mdl.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSETELEM, Flags: mdl.Request | mdl.Dump},
		Data:   append([]byte{unix.NFPROTO_IPV4, 0, 0, 0}, data...),
	})
	if err != nil {
		return nil, fmt.Errorf("list set %s: %w: %w", name, errs.Unavailable, err)
	}
	_, _, verdict := rules.Sizes(name)
	out := map[rules.Key]rules.Value{}
	for _, m := range reply {
		parseElements(m.Data, verdict, out)
	}
	return out, nil
}

// parseElements adds the elements of one message. What it cannot read it
// leaves out: the set then differs and is written again.
func parseElements(message []byte, verdict bool, out map[rules.Key]rules.Value) {
	if len(message) < 4 {
		return
	}
	list := attribute(message[4:], unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for len(list) > 0 {
		var element []byte
		_, element, list = next(list)
		var k rules.Key
		var v rules.Value
		key := attribute(attribute(element, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)
		if len(key) == 0 {
			continue
		}
		copy(k[:], key)
		data := attribute(element, unix.NFTA_SET_ELEM_DATA)
		if verdict {
			name := attribute(attribute(data, unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CHAIN)
			v.Chain = strings.TrimSuffix(string(name), "\x00")
		} else {
			copy(v.Data[:], attribute(data, unix.NFTA_DATA_VALUE))
		}
		out[k] = v
	}
}

// attribute finds the value of the first attribute of a kind, nil without one.
func attribute(data []byte, kind uint16) []byte {
	for len(data) > 0 {
		var got uint16
		var value []byte
		if got, value, data = next(data); got == kind && value != nil {
			return value
		}
	}
	return nil
}

// next splits off the first attribute; a broken one ends the data.
func next(data []byte) (kind uint16, value, rest []byte) {
	if len(data) < 4 {
		return 0, nil, nil
	}
	length := int(binary.NativeEndian.Uint16(data))
	if length < 4 || length > len(data) {
		return 0, nil, nil
	}
	kind = binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	return kind, data[4:length], data[min((length+3)&^3, len(data)):]
}

func dumpChains(c *nftables.Conn, raw *mdl.Conn, r rules.Ruleset) error {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list chains: %w: %w", errs.Unavailable, err)
	}
	for _, x := range chains {
		if x.Table.Name != rules.Table {
			continue
		}
		got := rules.Chain{}
		if x.Hooknum != nil && x.Priority != nil {
			got.Hook = rules.Hook{Type: string(x.Type), Point: hookNames[*x.Hooknum], Priority: int(*x.Priority)}
		}
		r.Chains[x.Name] = got
	}
	return dumpRules(raw, r)
}

// dumpRules reads all rules in one go, and of each only what is compared: the
// library would ask chain by chain and decode every expression.
func dumpRules(raw *mdl.Conn, r rules.Ruleset) error {
	// The library does not export its header; it is family, version, queue.
	data, err := mdl.MarshalAttributes([]mdl.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(rules.Table + "\x00")}})
	if err != nil {
		return fmt.Errorf("list rules: %w: %w", errs.Internal, err)
	}
	reply, err := raw.Execute(mdl.Message{
		Header: mdl.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: mdl.Request | mdl.Dump},
		Data:   append([]byte{unix.NFPROTO_IPV4, 0, 0, 0}, data...),
	})
	if err != nil {
		return fmt.Errorf("list rules: %w: %w", errs.Unavailable, err)
	}
	for _, m := range reply {
		table, name, rule, err := parseRule(m.Data)
		if err != nil {
			return err
		}
		if got, ok := r.Chains[name]; ok && table == rules.Table {
			got.Rules = append(got.Rules, rule)
			r.Chains[name] = got
		}
	}
	return nil
}

// parseRule reads where a rule is and the text we wrote beside it; a rule
// without one is not ours and differs from every one of ours.
func parseRule(message []byte) (table, chain string, r rules.Rule, err error) {
	if len(message) < 4 {
		return "", "", r, fmt.Errorf("rule of %d bytes: %w", len(message), errs.Internal)
	}
	ad, err := mdl.NewAttributeDecoder(message[4:])
	if err != nil {
		return "", "", r, fmt.Errorf("rule: %w: %w", errs.Internal, err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_TABLE:
			table = ad.String()
		case unix.NFTA_RULE_CHAIN:
			chain = ad.String()
		case unix.NFTA_RULE_USERDATA:
			r.Text = comment(ad.Bytes())
		}
	}
	if err := ad.Err(); err != nil {
		return "", "", r, fmt.Errorf("rule: %w: %w", errs.Internal, err)
	}
	return table, chain, r, nil
}

// comment finds the text among type, length, value triples.
func comment(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		value := data[2 : 2+int(data[1])]
		if data[0] == commentType {
			return strings.TrimSuffix(string(value), "\x00")
		}
		data = data[2+len(value):]
	}
	return ""
}
