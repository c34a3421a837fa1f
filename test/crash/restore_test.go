package crash

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/testkit"
)

// words are the states of a service's instances.
func (c *client) words(t *testing.T, id string) (out []string) {
	t.Helper()
	var s struct {
		Instances []struct{ Status string } `json:"instance_list"`
	}
	c.must(t, http.MethodGet, "/api/service/"+id, nil, &s)
	for _, in := range s.Instances {
		out = append(out, in.Status)
	}
	return out
}

func (c *client) run(t *testing.T, id string, want ...string) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, func() error {
		if d := cmp.Diff(want, c.words(t, id)); d != "" {
			return errors.New(d)
		}
		return nil
	})
}

// oak runs the command line against a root.
func oak(t *testing.T, r *root, token string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), build(t, "oak"), args...)
	cmd.Env = append(os.Environ(), "OAK_ROOT=http://"+r.addr, "OAK_TOKEN="+token, "XDG_CONFIG_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("oak %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestARestoredRootDeletesNothing: a backup is made the store of a root, as
// operations.md says. Until it is accepted only reads work; what runs below is
// left alone the whole time, what was started after the backup too, and is
// taken in when its cluster comes.
func TestARestoredRootDeletesNothing(t *testing.T) {
	r := newRoot(t)
	r.start()
	r.serve(30 * time.Second)
	token := login(t, r)
	c := newClient(r, token)
	s := newSite(t, r)
	var apps []application
	c.must(t, http.MethodPost, "/api/application/", descriptor("kept"), &apps)
	id := apps[0].Services[0]
	c.must(t, http.MethodPost, "/api/service/"+id+"/instance", nil, nil)
	c.run(t, id, "RUNNING")

	file := filepath.Join(t.TempDir(), "backup.db")
	if out := oak(t, r, token, "backup", file); !strings.Contains(out, "sha256") {
		t.Errorf("oak backup says %s", out)
	}
	c.must(t, http.MethodPost, "/api/service/"+id+"/instance", nil, nil) // after the backup
	c.run(t, id, "RUNNING", "RUNNING")
	before, started, deleted := s.holds()
	if len(before) != 2 || len(deleted) != 0 {
		t.Fatalf("%v run, %v were deleted", before, deleted)
	}

	r.kill()
	s.stop() // or it would end the recovery at once
	restored, err := exec.CommandContext(t.Context(), r.bin, "-data", r.data, "-restore", file).CombinedOutput()
	if err != nil || !bytes.Contains(restored, []byte("kitchen")) {
		t.Fatalf("-restore: %v, %s", err, restored)
	}
	r.start()
	r.serve(30 * time.Second)

	if out := oak(t, r, token, "recover"); !strings.Contains(out, "kitchen") || !strings.Contains(out, "--accept") {
		t.Errorf("oak recover says %s", out)
	}
	for _, path := range []string{"/api/applications/", "/api/services/", "/api/service/" + id, "/api/clusters/", "/api/nodes/", "/api/recovery", "/api/application/" + apps[0].ID} {
		c.must(t, http.MethodGet, path, nil, nil)
	}
	if got := c.words(t, id); len(got) != 1 {
		t.Errorf("the backup knows %v", got)
	}
	for _, change := range [][2]string{{http.MethodPost, "/api/service/" + id + "/instance"}, {http.MethodDelete, "/api/service/" + id}, {http.MethodDelete, "/api/application/" + apps[0].ID}} {
		if f, status, body, err := c.do(change[0], change[1], nil); f != refused || status != http.StatusServiceUnavailable {
			t.Errorf("%v in recovery: %d %s, %v", change, status, body, err)
		}
	}

	oak(t, r, token, "recover", "--accept")
	if out := oak(t, r, token, "recover"); !strings.Contains(out, "not in recovery") {
		t.Errorf("after it oak recover says %s", out)
	}

	s.start() // the cluster comes back, with more than the backup knows
	c.run(t, id, "RUNNING", "RUNNING")
	again, startedNow, deleted := s.holds()
	if d := cmp.Diff(fmt.Sprint(before), fmt.Sprint(again)); d != "" || startedNow != started || len(deleted) != 0 {
		t.Errorf("%d were started, %d before; deleted: %v; what runs changed: %s", startedNow, started, deleted, d)
	}
	if out := oak(t, r, token, "recover"); strings.Contains(out, "without a record") {
		t.Errorf("all was taken in, but oak recover says %s", out)
	}
	c.must(t, http.MethodPost, "/api/application/", descriptor("fresh"), nil)
	c.must(t, http.MethodPost, "/api/service/"+id+"/instance", nil, nil)
	c.run(t, id, "RUNNING", "RUNNING", "RUNNING")
	if _, _, deleted := s.holds(); len(deleted) != 0 {
		t.Errorf("deleted: %v", deleted)
	}
}
