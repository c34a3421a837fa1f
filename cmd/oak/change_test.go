package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const shop = `{"sla_version":"v2.0","applications":[{"application_name":"shop","application_namespace":"test","microservices":[
	{"microservice_name":"web","microservice_namespace":"test","code":"v1","port":"80","replicas":0,"privileged":true}]}]}`

func want(t *testing.T, out string, err error, parts ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range parts {
		if !strings.Contains(out, p) {
			t.Errorf("%q is missing in:\n%s", p, out)
		}
	}
}

func TestApplyingAndChangingFromTheCommandLine(t *testing.T) {
	startRoot(t)
	file := filepath.Join(t.TempDir(), "shop.json")
	if err := os.WriteFile(file, []byte(shop), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := oak(t, "", "apply", "-f", file, "--dry-run")
	want(t, out, err, "created  application  shop.test", "created  service      shop.test.web.test", "this was a dry run", "warning: applications[0].microservices[0].privileged")
	out, err = oak(t, "", "apply", "-f", file, "--wait")
	want(t, out, err, "created  service", "revision 1 done, 0 of 0")
	out, err = oak(t, shop, "apply", "-f", "-", "--json")
	var v appliedView
	if want(t, out, err); json.Unmarshal([]byte(out), &v) != nil || len(v.Left) != 2 || len(v.Created)+len(v.Changed) != 0 {
		t.Errorf("twice: %s", out)
	}
	out, err = oak(t, "", "update", "web", "--image", "v2", "--wait")
	want(t, out, err, "revision 2 done")
	out, err = oak(t, `{"memory":200}`, "update", "shop.test.web.test", "-f", "-", "--json", "--wait")
	want(t, out, err, `"target":3`)
	out, err = oak(t, "", "rollback", "web", "--to", "1", "--wait")
	want(t, out, err, "revision 4 done")
	out, err = oak(t, "", "rollout", "web", "--history")
	want(t, out, err, "REVISION", "1         false    v1", "2         false    v2     code", "4         true     v1     code, memory")
	out, err = oak(t, "", "scale", "web", "2")
	want(t, out, err, "web has 2 instance(s): 2 added, 0 removed")
	out, err = oak(t, "", "rollout", "web")
	want(t, out, err, "shop.test.web.test: revision 4 done, 2 of 2 instance(s) have it")
	out, err = oak(t, "", "scale", "web", "1", "--json")
	want(t, out, err, `"removed":[1]`)
	out, err = oak(t, "", "rollout", "web", "--json")
	want(t, out, err, `"state":"done"`)
}

func TestWhatTheCommandLineRefuses(t *testing.T) {
	startRoot(t)
	for _, c := range []struct {
		words string
		want  string
	}{
		{"apply", "oak apply -f FILE"}, {"scale web -- -1", "want 0 or more"}, {"scale web x", "want 0 or more"}, {"scale web 1", `no service "web"`},
		{"cluster confirm-loss kitchen", `cluster "kitchen"`}, {"update web", "what changes?"}, {"rollback web", `no service "web"`},
	} {
		out, err := oak(t, "", strings.Fields(c.words)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("oak %s: %v %s", c.words, err, out)
		}
	}
	if _, err := oak(t, `{"applications":[{"application_name":"a b"}]}`, "apply", "-f", "-"); err == nil || !strings.Contains(err.Error(), "applications[0].application_name") {
		t.Errorf("%v", err)
	}
	out, err := oak(t, "", "rollback", "-h")
	want(t, out, err, "rolling back twice undoes it", "oak rollback nginx --to 3")
}
