package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestNamesOfTheRootAreCompleted(t *testing.T) {
	s := newStandIn(t)
	s.on("GET /api/nodes/", 200, `[{"id":"worker-2"},{"id":"worker-1"},{"id":"edge"},{"id":"edge"}]`)
	s.on("GET /api/clusters/", 200, `[{"cluster_name":"kitchen"},{"cluster_name":"cellar"}]`)
	s.on("GET /api/services/", 200, `[{"microserviceID":"1","job_name":"shop.test.nginx.test","microservice_name":"nginx"}]`)
	s.on("GET /api/orphans?cluster=&node=", 200, `[{"job_name":"a.b.c.d","instance_number":0},{"microserviceID":"abc","instance_number":1}]`)
	s.on("GET /api/orphans?cluster=&node=edge", 200, `[{"microserviceID":"abc","instance_number":1}]`)
	for line, want := range map[string]string{
		"orphans --node _":             "edge worker-1 worker-2",
		"orphans --node w":             "worker-1 worker-2",
		"orphans --cluster k":          "kitchen",
		"orphan rm --cluster _":        "cellar kitchen",
		"node drain --cluster c":       "cellar",
		"node cordon e":                "edge",
		"node cordon edge _":           "",
		"cluster rm _":                 "cellar kitchen",
		"cluster confirm-loss k":       "kitchen",
		"explain ng":                   "nginx",
		"orphan rm _":                  "a.b.c.d/0 abc/1",
		"orphan rm --node edge _":      "abc/1",
		"orphan rm --node elsewhere _": "", // 404
		"orphan rm a.b.c.d/0 _":        "",
	} {
		words := strings.Fields(line)
		if last := &words[len(words)-1]; *last == "_" {
			*last = ""
		}
		out, err := oak(t, "", append([]string{cobra.ShellCompNoDescRequestCmd}, words...)...)
		if err != nil {
			t.Fatal(err)
		}
		got, directive, _ := strings.Cut(out, ":")
		if got = strings.Join(strings.Fields(got), " "); got != want || strings.TrimSpace(directive) != "4" {
			t.Errorf("%q is completed to %q (%s), want %q", line, got, directive, want)
		}
	}
}
