package linux

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
)

// dumped is a set of one verdict as the kernel sends it.
func dumped(t testing.TB) []byte {
	t.Helper()
	nest := func(kind uint16, inside ...mdl.Attribute) mdl.Attribute {
		data, err := mdl.MarshalAttributes(inside)
		if err != nil {
			t.Fatal(err)
		}
		return mdl.Attribute{Type: kind | unix.NLA_F_NESTED, Data: data}
	}
	data, err := mdl.MarshalAttributes([]mdl.Attribute{nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, nest(unix.NFTA_LIST_ELEM,
		nest(unix.NFTA_SET_ELEM_KEY, mdl.Attribute{Type: unix.NFTA_DATA_VALUE, Data: []byte{10, 30, 0, 10}}),
		nest(unix.NFTA_SET_ELEM_DATA, nest(unix.NFTA_DATA_VERDICT, mdl.Attribute{Type: unix.NFTA_VERDICT_CHAIN, Data: []byte("lane-1\x00")}))))})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{2, 0, 0, 0}, data...)
}

func TestParseElements(t *testing.T) {
	got := map[rules.Key]rules.Value{}
	parseElements(dumped(t), true, got)
	want := map[rules.Key]rules.Value{{10, 30, 0, 10}: {Chain: "lane-1"}}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func FuzzParseElements(f *testing.F) {
	f.Add(dumped(f), true)
	f.Add([]byte{2, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, message []byte, verdict bool) {
		parseElements(message, verdict, map[rules.Key]rules.Value{})
	})
}

func FuzzParseRule(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 7, 0, 0, 2, 'x', 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		_, _, _, _ = parseRule(message)
		comment(message)
	})
}

func FuzzParsePacket(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 11, 0, 1, 0, 0, 0, 0, 1, 8, 0, 1, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		if p, ok := parsePacket(message, time.Time{}); ok && !p.dst.Is4() {
			t.Fatalf("accepted %+v", p)
		}
		parseRemote(message)
	})
}

func TestParseStat(t *testing.T) {
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, name := range []string{"(sleep)", "(a) b (c)", "())"} {
		if start, zombie, err := parseStat("42 " + name + tail); err != nil || zombie || start != 4711 {
			t.Errorf("%s: %d, %t, %v", name, start, zombie, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := limiter{limit: 2}
	a, b, now := netip.MustParseAddr("10.18.1.2"), netip.MustParseAddr("10.18.1.3"), time.Unix(100, 0)
	for i, c := range []struct {
		source netip.Addr
		at     time.Time
		want   bool
	}{{a, now, true}, {a, now, true}, {a, now, false}, {b, now, true}, {a, now.Add(time.Second), true}} {
		if got := l.allow(c.source, c.at); got != c.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
}
