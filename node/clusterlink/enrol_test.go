package clusterlink

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"oakestra/api/mqtt"
	"oakestra/node/runner"
	"oakestra/node/telemetry"
)

// answers is a cluster manager that answers every registration alike.
type answers struct {
	code int
	keys []string    // that registered
	at   []time.Time // when
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	var in mqtt.Register
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	a.keys, a.at = append(a.keys, in.NodeKey), append(a.at, time.Now())
	return &http.Response{StatusCode: a.code, Body: io.NopCloser(strings.NewReader(`{"message":"no"}`)), Header: http.Header{}}, nil
}

type idle struct{ Engine }

func (idle) Snapshot() []runner.Record { return nil }
func (idle) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// A key that somebody else uses is given up, but not before the cluster had
// the time to see that it was us; for any other trouble it is kept.
func TestAKeyInUseIsGivenUp(t *testing.T) {
	for code, gives := range map[int]bool{http.StatusConflict: true, http.StatusServiceUnavailable: false, http.StatusBadRequest: false} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			before, err := LoadIdentity(dir)
			if err != nil {
				t.Fatal(err)
			}
			c := &answers{code: code}
			l := New(Config{Address: "cluster", Port: 10100, Data: dir}, idle{}, telemetry.New(dir), slog.New(slog.DiscardHandler), nil)
			l.http.Transport = c
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			start := time.Now()
			if err := l.Run(ctx); err != nil {
				t.Fatal(err)
			}
			after, err := LoadIdentity(dir)
			if err != nil || (after.Key != before.Key) != gives {
				t.Fatalf("%d: the key changed: %v, %v", code, after.Key != before.Key, err)
			}
			for i, k := range c.keys {
				if k != before.Key && (!gives || c.at[i].Sub(start) < enrolAgain) {
					t.Errorf("%d: another key %s after the first refusal", code, c.at[i].Sub(start))
				}
			}
			if len(c.keys) < 5 {
				t.Errorf("%d: it asked %d times", code, len(c.keys))
			}
		})
	}
}
