package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplainingFromTheCommandLine(t *testing.T) {
	startRoot(t)
	file := filepath.Join(t.TempDir(), "shop.json")
	if err := os.WriteFile(file, []byte(shop), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := oak(t, "", "apply", "-f", file)
	want(t, out, err)
	out, err = oak(t, "", "scale", "web", "1")
	want(t, out, err)
	out, err = oak(t, "", "explain", "web")
	want(t, out, err, "one more instance of shop.test.web.test: waiting for a cluster: none is connected", "instance 0 is ")
	out, err = oak(t, "", "explain", "web", "--json")
	var v explanationView
	if want(t, out, err); json.Unmarshal([]byte(out), &v) != nil || v.Total != 1 || len(v.Waiting) != 1 {
		t.Errorf("%s", out)
	}
	if out, err = oak(t, "", "explain", "nothing"); err == nil {
		t.Errorf("an unknown service is explained: %s", out)
	}
}

// What a worker says is shown on a line of its own.
func TestAnExplanationNamesWorkers(t *testing.T) {
	const answer = `{"job_name":"a.b.c.d","one_more":{"message":"it would go to node w1 of cluster kitchen, where 1 of 3 nodes qualify","clusters":[
		{"cluster_name":"kitchen","qualifies":true,"answer":"answered","workers":3,"qualified":1,"worker_id":"w1","reasons":[{"reason":"memory","count":2,"detail":"w3: 512 > 300 MiB free"}],
		"nodes":[{"id":"w1","qualifies":true},{"id":"w3","reason":"memory","detail":"512 > 300 MiB free"}],"nodes_omitted":1},
		{"cluster_name":"cellar","qualifies":false,"reason":"inactive","detail":"cellar","answer":"not connected","status_detail":"cluster cellar is not connected since 2026-05-04T09:20:30Z"},
		{"cluster_name":"attic","qualifies":false,"reason":"runtime","detail":"attic: no container","answer":"answered"}]},"waiting":[],"waiting_total":0}`
	var v explanationView
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	(&app{out: &out}).explain(v)
	want(t, out.String(), nil, "cluster kitchen: may be asked; 1 of 3 workers qualify, memory 2 (w3: 512 > 300 MiB free)", "worker w1: would be taken",
		"worker w3: memory 512 > 300 MiB free", "1 more workers", "cluster cellar: inactive (cellar); cluster cellar is not connected since 2026-05-04T09:20:30Z", "cluster attic: has no workers")
}
