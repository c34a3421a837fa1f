package clusterlink

import (
	"encoding/json"
	"log/slog"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"

	"oakestra/api/mqtt"
	"oakestra/node/telemetry"
)

// wire is a session whose messages are kept.
type wire struct {
	paho.Client
	sent *[][]byte
}

func (w wire) Publish(_ string, _ byte, _ bool, payload any) paho.Token {
	*w.sent = append(*w.sent, payload.([]byte))
	return &paho.DummyToken{}
}

// TestReportsAreCountedThroughSessions: a cluster takes no report of a start of
// this agent that is not newer than all before, so a new session must not begin
// at one again.
func TestReportsAreCountedThroughSessions(t *testing.T) {
	l := New(Config{Data: t.TempDir()}, idle{}, telemetry.New(t.TempDir()), slog.New(slog.DiscardHandler), nil)
	var sent [][]byte
	for range 2 {
		session := &talk{Link: l, client: wire{sent: &sent}, node: "w1", agreed: mqtt.Registered{CombinedReport: true}}
		for range 2 {
			if err := session.report(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []uint64
	boots := map[string]bool{}
	for _, text := range sent {
		var info mqtt.Information
		if err := json.Unmarshal(text, &info); err != nil {
			t.Fatal(err)
		}
		got, boots[info.Boot] = append(got, info.Seq), true
	}
	if d := cmp.Diff([]uint64{1, 2, 3, 4}, got); d != "" || len(boots) != 1 {
		t.Errorf("numbers of the reports of two sessions (-want +got):\n%s starts: %d, want 1", d, len(boots))
	}
}
