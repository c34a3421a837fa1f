package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"oakestra/netmanager/rules"
	"oakestra/pkg/errs"
)

const (
	maxHeld   = 1024 // packets
	copyBytes = 128
	// firstPerSource bounds the first packets, per second and at once, that
	// the kernel queues for one source.
	firstPerSource = 512
	// maxQueued is room for several sources at their bound while the reader
	// catches up; beyond, the kernel lets packets go on, and they are refused.
	maxQueued = maxHeld + 8*firstPerSource
	// More sources than this in one second are counted together.
	maxSources = 1024
)

// hold keeps first packets to unknown addresses until someone knows them.
type hold struct {
	cfg     Config
	ns      int
	log     *slog.Logger
	unknown chan netip.Addr

	mu    sync.Mutex // guards the rest; verdicts are sent outside
	queue *queue
	held  map[netip.Addr][]packet
	count int
	rate  limiter
}

func newHold(cfg Config, ns int, log *slog.Logger) *hold {
	return &hold{cfg: cfg, ns: ns, log: log, unknown: make(chan netip.Addr, 256),
		held: map[netip.Addr][]packet{}, rate: limiter{limit: cfg.NewPerSource}}
}

func (h *hold) run(ctx context.Context) error {
	q, err := openQueue(h.ns, h.cfg.Queue)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.queue = q
	h.mu.Unlock()
	stop := context.AfterFunc(ctx, q.interrupt)
	defer func() {
		stop()
		h.mu.Lock()
		h.queue, h.held, h.count = nil, map[netip.Addr][]packet{}, 0
		h.mu.Unlock()
		q.close() // the kernel drops what is still held; clients repeat it
	}()
	var deadlines sync.WaitGroup
	inner, cancel := context.WithCancel(ctx)
	deadlines.Go(func() { h.expire(inner) })
	defer func() { cancel(); deadlines.Wait() }()
	for {
		packets, err := q.receive()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENOBUFS) {
			continue // packets were lost, not the queue
		}
		if err != nil {
			return fmt.Errorf("held packets: %w: %w", errs.Unavailable, err)
		}
		for _, p := range packets {
			if !h.keep(p) {
				h.verdict(q, p, verdictDrop)
			}
		}
	}
}

// keep takes the packet in, asks for its address if nobody did, and says
// whether there was room.
func (h *hold) keep(p packet) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting, asked := h.held[p.dst]
	if h.count >= maxHeld || (!asked && !h.rate.allow(p.src, p.at)) {
		return false
	}
	if !asked {
		select {
		case h.unknown <- p.dst:
		default:
			return false // nobody listens fast enough; the client repeats
		}
	}
	h.held[p.dst] = append(waiting, p)
	h.count++
	return true
}

func (h *hold) release(address netip.Addr) {
	h.mu.Lock()
	q, packets := h.queue, h.held[address]
	delete(h.held, address)
	h.count -= len(packets)
	h.mu.Unlock()
	for _, p := range packets {
		h.verdict(q, p, verdictAccept)
	}
}

// expire lets packets go on that nobody answered for: they are refused.
func (h *hold) expire(ctx context.Context) {
	tick := time.NewTicker(max(h.cfg.HoldFor/10, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, address := range h.overdue(now) {
				h.log.Warn("no answer for a service address", "address", address, "after", h.cfg.HoldFor)
				h.release(address)
			}
		}
	}
}

func (h *hold) overdue(now time.Time) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	var late []netip.Addr
	for address, packets := range h.held {
		if now.Sub(packets[0].at) >= h.cfg.HoldFor {
			late = append(late, address)
		}
	}
	return late
}

func (h *hold) verdict(q *queue, p packet, verdict uint32) {
	if q == nil {
		return
	}
	if err := q.verdict(p, verdict); err != nil {
		h.log.Warn("verdict for a held packet", "address", p.dst, "err", err)
	}
}

// limiter counts new addresses per source in whole seconds.
type limiter struct {
	limit  int
	second int64
	asked  map[netip.Addr]int
}

func (l *limiter) allow(source netip.Addr, now time.Time) bool {
	if s := now.Unix(); s != l.second || l.asked == nil {
		l.second, l.asked = s, map[netip.Addr]int{}
	}
	if _, ok := l.asked[source]; !ok && len(l.asked) >= maxSources {
		source = netip.Addr{}
	}
	l.asked[source]++
	return l.asked[source] <= l.limit
}

// packet is one held packet.
type packet struct {
	id       uint32
	mark     uint32
	src, dst netip.Addr
	at       time.Time
}

// parsePacket reads a message of NFQUEUE. ok is false for what is no IPv4 packet.
func parsePacket(data []byte, now time.Time) (p packet, ok bool) {
	if len(data) < 4 {
		return p, false
	}
	ad, err := mdl.NewAttributeDecoder(data[4:])
	if err != nil {
		return p, false
	}
	ad.ByteOrder = binary.BigEndian
	p.at = now
	for ad.Next() {
		b := ad.Bytes()
		switch ad.Type() {
		case attrPacketHeader:
			if len(b) < 4 {
				return p, false
			}
			p.id = binary.BigEndian.Uint32(b)
		case attrMark:
			if len(b) >= 4 {
				p.mark = binary.BigEndian.Uint32(b)
			}
		case attrPayload:
			if len(b) < 20 || b[0]>>4 != 4 {
				return p, false
			}
			p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		}
	}
	return p, ad.Err() == nil && p.dst.IsValid()
}

// onward is the packet's mark without our bit: routing rules of others must
// not meet it.
func (p packet) onward() uint32 { return p.mark &^ rules.HoldMark }
