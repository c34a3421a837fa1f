package main

import (
	"encoding/json"
	"testing"
)

func TestAListedWorkerSaysSinceWhenItIsStaleAndWhatIsStillToBeRemoved(t *testing.T) {
	for answer, want := range map[string]string{
		`{"stale":true,"cluster_name":"north","last_seen":"2025-01-02T03:04:05Z"}`:            "cluster north is not connected; as heard at 2025-01-02T03:04:05Z",
		`{"stale":true,"cluster_name":"north","last_seen":"","to_remove_total":2}`:            "cluster north is not connected; 2 to be removed",
		`{"stale":false,"cluster_name":"north","last_seen":"2025-01-02T03:04:05Z"}`:           "",
		`{"to_remove":[],"to_remove_total":0}`:                                                "",
		`{"to_remove":[{"waits_for":""}],"to_remove_total":1}`:                                "1 to be removed",
		`{"to_remove":[{"waits_for":"worker w3 of cluster c1 is lost"}],"to_remove_total":7}`: "7 to be removed: worker w3 of cluster c1 is lost",
	} {
		var v nodeView
		if err := json.Unmarshal([]byte(answer), &v); err != nil || v.detail() != want {
			t.Errorf("%s: %q, %v, want %q", answer, v.detail(), err, want)
		}
	}
}

// What is shown of a cluster that cannot be heard is marked.
func TestAListedInstanceIsMarkedWhenItsClusterIsAway(t *testing.T) {
	var v serviceView
	const answer = `{"job_name":"a.b.c.d","instance_list":[{"instance_number":0,"status":"RUNNING","stale":true,
		"status_detail":"cluster north is not connected; state as last heard"},{"instance_number":1,"status":"RUNNING","stale":false}]}`
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatal(err)
	}
	rows := serviceRows(v)
	for i, want := range []string{"RUNNING (stale)", "RUNNING"} {
		if got := rows[i][3]; got != want {
			t.Errorf("instance %d is shown as %v, want %s", i, got, want)
		}
	}
}
