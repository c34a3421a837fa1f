package main

import (
	"encoding/json"
	"testing"
)

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
