package crash

import (
	"fmt"
	"sync"
	"time"

	"oakestra/root/control"
)

// ledger watches the addresses all writers see: never two holders, and nobody
// new before the last one's rest is over.
type ledger struct {
	mu   sync.Mutex
	held map[string]holding
}

type holding struct {
	holder string
	left   time.Time // when its end was asked for first; zero: it stays
}

func newLedger() *ledger { return &ledger{held: map[string]holding{}} }

// see notes that an address was shown as a holder's.
func (l *ledger) see(address, holder string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, ok := l.held[address]
	switch {
	case !ok || was.holder == holder:
		was = holding{holder: holder} // whoever shows it is done with asking for its end
	case was.left.IsZero():
		return fmt.Errorf("address %s is given to %s and to %s", address, was.holder, holder)
	case now.Sub(was.left) < control.Quarantine:
		return fmt.Errorf("address %s of %s is given to %s after %s", address, was.holder, holder, now.Sub(was.left))
	default:
		was = holding{holder: holder}
	}
	l.held[address] = was
	return nil
}

// leave notes that the end of holders is about to be asked for.
func (l *ledger) leave(now time.Time, addresses ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addresses {
		if h, ok := l.held[a]; ok && h.left.IsZero() {
			h.left = now
			l.held[a] = h
		}
	}
}
