package boltstore

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// The records that a store has most of are read by hand. encoding/json takes
// 7 us for a service, and a root that starts with 100 000 of them reads them
// all. Only what json.Marshal writes of plain values is known here; with
// anything else, an escape in a text to begin with, quick gives up and
// encoding/json reads the record from its beginning.
type quick interface{ quick(raw []byte) bool }

var (
	_ quick = (*serviceRecord)(nil)
	_ quick = (*claimRecord)(nil)
	_ quick = (*instanceRecord)(nil)
)

func (r *serviceRecord) quick(raw []byte) bool {
	c := cursor{left: raw}
	c.object(func(key []byte) {
		if string(key) == "v" {
			r.V = int(c.number())
			return
		}
		c.service(&r.serviceFields, key)
	})
	return c.whole()
}

func (r *claimRecord) quick(raw []byte) bool {
	c := cursor{left: raw}
	c.object(func(key []byte) {
		switch string(key) {
		case "v":
			r.V = int(c.number())
		case "holder":
			r.Holder = c.text()
		default:
			c.odd = true
		}
	})
	return c.whole()
}

func (r *instanceRecord) quick(raw []byte) bool {
	c := cursor{left: raw}
	c.object(func(key []byte) {
		switch string(key) {
		case "v":
			r.V = int(c.number())
		case "service":
			r.Service = model.ServiceID(c.text())
		case "number":
			r.Number = int(c.number())
		case "address":
			r.Address = c.address()
		case "cluster":
			r.Cluster = model.ClusterID(c.text())
		case "grant":
			r.Grant = instance.Grant(c.wide())
		case "revision":
			r.Revision = c.wide()
		case "tombstone":
			r.Tombstone = c.flag()
		case "assigned":
			c.object(func(key []byte) { c.service(&r.Assigned, key) })
		case "created_at":
			r.CreatedAt = c.time()
		default:
			c.odd = true
		}
	})
	return c.whole()
}

func (c *cursor) service(f *serviceFields, key []byte) {
	switch string(key) {
	case "id":
		f.ID = model.ServiceID(c.text())
	case "application":
		f.Application = model.ApplicationID(c.text())
	case "owner":
		f.Owner = c.text()
	case "name":
		f.Name = c.text()
	case "address":
		f.Address = c.address()
	case "chosen":
		f.Chosen = c.flag()
	case "next_number":
		f.NextNumber = int(c.number())
	case "revision":
		f.Revision = uint64(c.number())
	case "spec":
		c.object(func(key []byte) { c.spec(&f.Spec, key) })
	default:
		c.odd = true
	}
}

func (c *cursor) spec(f *specFields, key []byte) {
	switch string(key) {
	case "image":
		f.Image = c.text()
	case "runtime":
		f.Runtime = c.text()
	case "command":
		f.Command = c.texts()
	case "environment":
		f.Environment = c.texts()
	case "milli_cpu":
		f.MilliCPU = c.number()
	case "memory_mb":
		f.MemoryMB = c.number()
	case "gpus":
		f.GPUs = c.number()
	case "disk_mb":
		f.DiskMB = c.number()
	case "ports":
		c.odd = c.odd || f.Ports != nil // twice
		f.Ports = []portFields{}
		c.list(func() { f.Ports = append(f.Ports, c.port()) })
	case "port_text":
		f.PortText = c.text()
	default: // seldom there
		c.odd = true
	}
}

func (c *cursor) address() netip.Addr {
	a, err := netip.ParseAddr(c.text())
	c.odd = c.odd || err != nil
	return a
}

// time is what time.Time reads itself.
func (c *cursor) time() (t time.Time) {
	c.odd = t.UnmarshalText(c.plain()) != nil || c.odd
	return t
}

func (c *cursor) port() (p portFields) {
	c.object(func(key []byte) {
		switch string(key) {
		case "host":
			p.Host = c.small()
		case "container":
			p.Container = c.small()
		case "protocol":
			p.Protocol = model.Protocol(c.text())
		default:
			c.odd = true
		}
	})
	return p
}

// cursor reads JSON without blanks. Once odd, it stays where it is.
type cursor struct {
	left []byte
	odd  bool
}

// whole says that everything was read and understood.
func (c *cursor) whole() bool { return !c.odd && len(c.left) == 0 }

// next says whether b comes next, and passes it.
func (c *cursor) next(b byte) bool {
	if c.odd || len(c.left) == 0 || c.left[0] != b {
		return false
	}
	c.left = c.left[1:]
	return true
}

func (c *cursor) want(b byte) { c.odd = !c.next(b) || c.odd }

func (c *cursor) object(field func(key []byte)) {
	c.want('{')
	for first := true; !c.odd && !c.next('}'); first = false {
		if !first {
			c.want(',')
		}
		key := c.plain()
		if c.want(':'); !c.odd {
			field(key)
		}
	}
}

func (c *cursor) list(item func()) {
	c.want('[')
	for first := true; !c.odd && !c.next(']'); first = false {
		if !first {
			c.want(',')
		}
		if !c.odd {
			item()
		}
	}
}

// plain is a text of ASCII without escapes; valid as long as the record.
func (c *cursor) plain() []byte {
	c.want('"')
	for i, b := range c.left {
		switch {
		case c.odd || b < ' ' || b >= 0x7f || b == '\\':
			c.odd = true
			return nil
		case b == '"':
			text := c.left[:i]
			c.left = c.left[i+1:]
			return text
		}
	}
	c.odd = true
	return nil
}

func (c *cursor) text() string { return string(c.plain()) }

func (c *cursor) texts() []string {
	list := []string{}
	c.list(func() { list = append(list, c.text()) })
	return list
}

// number is a whole one, not below zero, of at most 18 digits.
func (c *cursor) number() (n int64) {
	digits := 0
	for digits < len(c.left) && c.left[digits] >= '0' && c.left[digits] <= '9' {
		n = n*10 + int64(c.left[digits]-'0')
		if digits++; digits > 18 {
			break
		}
	}
	if c.odd || digits == 0 || digits > 18 || digits > 1 && c.left[0] == '0' {
		c.odd = true
		return 0
	}
	c.left = c.left[digits:] // a fraction is odd at what follows
	return n
}

// wide is a whole one, not below zero, of 64 bits.
func (c *cursor) wide() uint64 {
	digits := 0
	for digits < len(c.left) && c.left[digits] >= '0' && c.left[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(string(c.left[:digits]), 10, 64)
	if c.odd || err != nil || digits > 1 && c.left[0] == '0' {
		c.odd = true
		return 0
	}
	c.left = c.left[digits:]
	return n
}

func (c *cursor) small() uint16 {
	n := c.number()
	c.odd = c.odd || n > 1<<16-1
	return uint16(n)
}

func (c *cursor) flag() bool {
	word, is := "false", false
	if len(c.left) > 0 && c.left[0] == 't' {
		word, is = "true", true
	}
	rest, ok := bytes.CutPrefix(c.left, []byte(word))
	c.left, c.odd = rest, c.odd || !ok
	return is
}
