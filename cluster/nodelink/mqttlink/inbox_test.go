package mqttlink

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/api/mqtt"
	"oakestra/pkg/core/model"
)

// TestInboxKeepsTheLastReport: a report that waits is replaced by the next one
// of its worker, but none passes another message of the same worker, and nobody
// else's is touched.
func TestInboxKeepsTheLastReport(t *testing.T) {
	i := newInbox(100)
	for n, m := range []struct{ node, suffix string }{
		{"w1", mqtt.UpInformation}, {"w2", mqtt.UpInformation}, {"w1", mqtt.UpResources}, {"w1", mqtt.UpInformation},
		{"w1", mqtt.UpJob}, {"w1", mqtt.UpInformation}, {"w2", mqtt.UpInformation}, {"w1", mqtt.UpInformation},
		{"w2", mqtt.UpNetReport}, {"w2", mqtt.UpNetReport},
	} {
		if !i.put(raw{model.NodeID(m.node), m.suffix, fmt.Append(nil, n)}) {
			t.Fatalf("no room for message %d", n)
		}
	}
	var got []string
	for _, m := range i.take(nil) {
		got = append(got, fmt.Sprintf("%s %s %s", m.node, m.suffix, m.payload))
	}
	if diff := cmp.Diff([]string{
		"w1 information 3", "w2 information 6", "w1 jobs/resources 2", "w1 job 4", "w1 information 7", "w2 net/report 8", "w2 net/report 9",
	}, got); diff != "" {
		t.Error(diff)
	}
	if rest := i.take(nil); len(rest) != 0 {
		t.Errorf("%d messages twice", len(rest))
	}
}

// TestInboxIsBounded: what has no room is refused; a report that replaces one
// needs none.
func TestInboxIsBounded(t *testing.T) {
	i := newInbox(2)
	put := func(node, suffix string) bool { return i.put(raw{node: model.NodeID(node), suffix: suffix}) }
	if !put("w1", mqtt.UpInformation) || !put("w1", mqtt.UpJob) {
		t.Fatal("no room in an empty inbox")
	}
	for range 2 {
		if put("w2", mqtt.UpInformation) || put("w1", mqtt.UpInformation) {
			t.Error("more than it may hold")
		}
	}
	i.take(nil)
	for range 2 { // the second replaces the first
		if !put("w2", mqtt.UpInformation) {
			t.Error("no room after it was emptied")
		}
	}
	if !put("w1", mqtt.UpInformation) || put("w3", mqtt.UpJob) {
		t.Error("wrong count after it was emptied")
	}
}
