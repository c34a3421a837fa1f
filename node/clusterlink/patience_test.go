package clusterlink

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"oakestra/api/mqtt"
)

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
