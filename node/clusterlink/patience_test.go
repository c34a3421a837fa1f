package clusterlink

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"oakestra/api/mqtt"
)

// TestPatience: a cluster that cannot be reached is tried again every few
// seconds for ever; one that answers without serving is left in peace.
func TestPatience(t *testing.T) {
	p := newPatience()
	longest := func(err error, served time.Duration) (most time.Duration) {
		for range 50 {
			most = max(most, p.next(err, served))
		}
		return most
	}
	if got := longest(errUnreachable, 0); got > 1250*time.Millisecond {
		t.Errorf("unreachable: a pause of %s", got)
	}
	if got := longest(errors.New("busy"), 0); got < 15*time.Second || got > 19*time.Second {
		t.Errorf("busy: the longest pause is %s, want 15 s and up to a quarter more", got)
	}
	if got := longest(errors.New("lost"), time.Second); got < 15*time.Second {
		t.Errorf("a cluster that falls over as soon as it serves: the longest pause is %s, want 15 s", got)
	}
	// A manager that is killed again and again, but serves in between, is not
	// one that is too busy.
	if got := longest(errors.New("lost"), 6*time.Second); got > 700*time.Millisecond {
		t.Errorf("after sessions that served: a pause of %s", got)
	}
}

func TestWhatIsUnreachable(t *testing.T) {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer busy.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, c := range []struct {
		name string
		addr net.Addr
		want bool
	}{{"nobody listens", gone.Listener.Addr(), true}, {"it answers 503", busy.Listener.Addr(), false}} {
		host, port, err := net.SplitHostPort(c.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		l := New(Config{Address: host, Port: n, Data: t.TempDir()}, nil, nil, slog.New(slog.DiscardHandler), nil)
		_, err = l.register(t.Context(), mqtt.Register{})
		if err == nil || errors.Is(err, errUnreachable) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
