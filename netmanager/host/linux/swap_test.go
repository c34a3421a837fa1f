package linux_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// No new flow is lost while backends change places: a drain or a rollout does
// that under load, and a flow whose first packet goes astray never recovers.
func TestNoNewFlowIsLostWhileBackendsChange(t *testing.T) {
	s := newSite(t, 2)
	client := s.run(1, 2, addr("10.30.1.1"))
	var backends []netip.Addr
	for i := range 4 {
		b := s.run(2, 2+i, addr(fmt.Sprintf("10.30.1.%d", 2+i)))
		serve(t, b.Host, fmt.Sprint(i))
		backends = append(backends, b.addr)
	}
	s.service(service, backends[:3]...)
	if _, _, err := ask(client.Host, service+":80"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var mu sync.Mutex
	asked, lost := 0, []error{}
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				err := quick(client.Dial)
				mu.Lock()
				if asked++; err != nil {
					lost = append(lost, err)
				}
				mu.Unlock()
			}
		})
	}
	w, changes := s.workers[0], 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); changes++ {
		out := changes % 4 // the others serve, in places that differ each time
		list := append(append([]netip.Addr{}, backends[out+1:]...), backends[:out]...)
		w.service(service, list...)
	}
	stop()
	load.Wait()
	t.Logf("COUNT: %d flows during %d changes, %d lost", asked, changes, len(lost))
	if len(lost) > 0 || asked < 100 || changes < 100 {
		t.Errorf("%d of %d flows lost during %d changes: %v", len(lost), asked, changes, errors.Join(lost...))
	}
}

// quick is one short flow. The kernel tries a first packet again after 1 s, 3 s
// and 7 s.
func quick(dial func(net.Dialer, string, string) (net.Conn, error)) error {
	c, err := dial(net.Dialer{Timeout: 5 * time.Second}, "tcp4", service+":80")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.ReadAtLeast(c, make([]byte, 64), 1); err != nil {
		return err
	}
	return nil
}
