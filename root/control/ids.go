package control

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
	"time"
)

// ids makes ids of 24 hex digits in the manner of MongoDB's ObjectID, which
// clients expect: seconds, five random bytes of this process, a counter. So
// they sort by age, those of one descriptor in its order.
type ids struct {
	process [5]byte
	count   *atomic.Uint32
}

func newIDs() ids {
	i := ids{count: new(atomic.Uint32)}
	_, _ = rand.Read(i.process[:]) // never fails: it ends the program instead
	return i
}

func (i ids) next(now time.Time) string {
	var b [13]byte
	binary.BigEndian.PutUint32(b[:4], uint32(now.Unix()))
	binary.BigEndian.PutUint32(b[9:], i.count.Add(1)) // its high byte is covered next
	copy(b[5:], i.process[:])
	return hex.EncodeToString(append(b[:4:4], b[5:]...))
}
