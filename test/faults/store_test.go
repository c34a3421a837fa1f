package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// recovery is what the root says of itself.
type recovery struct {
	Active     bool     `json:"recovery"`
	WaitingFor []string `json:"waiting_for"`
	Unknown    []struct {
		Service string `json:"microserviceID"`
		Node    string `json:"node_id"`
	} `json:"unknown"`
}

func (u *user) recovery() (r recovery, err error) {
	_, err = u.do("GET", "/api/recovery", nil, &r)
	return r, err
}

// served deploys a pair with a flow between them, for a fault to break.
func (f *field) served(app, address string, servers int) (ids map[string]string, stream *flow, before map[string]int) {
	f.user.t.Helper()
	ids = f.create(app, spec{name: "server", image: nginx, address: address},
		spec{name: "client", image: curl, cmd: []string{"sleep", "100000"}})
	f.scale(ids["server"], servers)
	f.deploy(ids["client"])
	f.waitRunning(ids["server"], servers, time.Minute)
	f.waitRunning(ids["client"], 1, time.Minute)
	f.check()
	return ids, openFlow(f.user.t, f.box(ids["client"], 0), address), f.pids()
}

// emptied is F12 with an empty store: the root comes up without it while the
// cluster cannot be reached, waits, and takes in what the cluster holds.
func (f *field) emptied() {
	t := f.user.t
	t.Helper()
	ids, stream, before := f.served("emptied", "10.30.4.1", 3)
	f.Cut("site")
	f.Root.Kill()
	f.remove(f.Lab.Path("root", "*.db"))
	f.Root.Again()
	f.relogin()
	holds(t, "the root waits and changes nothing", 5*time.Second, func() error {
		r, err := f.recovery()
		if err != nil || !r.Active || len(r.WaitingFor) != 1 || r.WaitingFor[0] != "field" {
			return fmt.Errorf("%w: %+v", err, r)
		}
		if code, err := f.do("POST", "/api/application/", `{"sla_version":"v2.0","customerID":"Admin","applications":[]}`, nil); code == 200 {
			return fmt.Errorf("a write was taken: %w", err)
		}
		return nil
	})
	figure(t, "without its store and its cluster the root is in recovery, waits for the cluster by name and refuses writes")
	up := f.heal("site")
	f.waitRunning(ids["server"], 3, time.Minute)
	f.waitRunning(ids["client"], 1, time.Minute)
	figure(t, "from the heal to everything adopted under its old ids: %s", time.Since(up).Round(100*time.Millisecond))
	stream.close(t)
	f.unchanged(before)
	f.notMore(before)
}

// remove deletes files that a pattern must match.
func (f *field) remove(pattern string) {
	f.user.t.Helper()
	list, err := filepath.Glob(pattern)
	f.fatal(err)
	if len(list) == 0 {
		f.user.t.Fatalf("nothing is at %s", pattern)
	}
	for _, file := range list {
		f.fatal(os.RemoveAll(file))
	}
}

// yesterday is F12 with a backup: what was deployed since runs on and is known
// again.
func (f *field) yesterday() {
	t := f.user.t
	t.Helper()
	first, stream, _ := f.served("early", "10.30.5.1", 2)
	backup := f.Lab.Path("backup.db")
	f.backup(backup)
	f.scale(first["server"], 4)
	later := f.create("later", spec{name: "server", image: nginx})
	f.scale(later["server"], 2)
	f.waitRunning(first["server"], 4, time.Minute)
	f.waitRunning(later["server"], 2, time.Minute)
	f.check()
	before := f.pids()

	f.Root.Kill()
	if out, err := f.Lab.Host("root").Run(f.Program("system-manager"), "-data", f.Lab.Path("root"), "-restore", backup); err != nil {
		t.Fatal(err, out)
	}
	f.Root.Again()
	begin := time.Now()
	f.relogin()
	f.waitRunning(first["server"], 4, time.Minute)
	f.waitRunning(later["server"], 2, time.Minute)
	figure(t, "with the backup in place, from the start of the root to everything known again: %s", time.Since(begin).Round(100*time.Millisecond))
	stream.close(t)
	f.unchanged(before)
	f.notMore(before)
}

// backup keeps a copy of the root's store, as oak backup does.
func (u *user) backup(file string) {
	u.t.Helper()
	req, err := http.NewRequest(http.MethodGet, u.base+"/api/admin/backup", nil)
	u.fatal(err)
	req.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := u.http.Do(req)
	u.fatal(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	u.fatal(err)
	if resp.StatusCode != http.StatusOK || len(data) == 0 {
		u.t.Fatalf("backup: %s, %d bytes", resp.Status, len(data))
	}
	u.fatal(os.WriteFile(file, data, 0o600))
}

// strangers is F12 where the root cannot take in what it finds: nothing is
// left of it, not even its memory of clusters, and somebody has the name of
// what runs by the time the cluster comes. What runs is listed, and runs on.
func (f *field) strangers() {
	t := f.user.t
	t.Helper()
	ids, stream, before := f.served("taken", "10.30.6.1", 3)
	f.Cut("site")
	f.Root.Kill()
	f.remove(f.Lab.Path("root"))
	f.Root.Again()
	f.relogin()
	f.create("taken", spec{name: "server", image: nginx, address: "10.30.6.1"}, spec{name: "client", image: curl})
	f.heal("site")
	eventually(t, "what runs is listed as unknown", time.Minute, func() error {
		r, err := f.recovery()
		if err != nil || r.Active {
			return fmt.Errorf("%w: %+v", err, r)
		}
		listed := 0
		for _, u := range r.Unknown {
			if u.Service == ids["server"] || u.Service == ids["client"] {
				listed++
			}
		}
		if listed != 4 {
			return fmt.Errorf("%d of 4: %+v", listed, r)
		}
		return nil
	})
	holds(t, "the root waits", 10*time.Second, func() error {
		r, err := f.recovery()
		if err != nil || len(r.Unknown) < 4 {
			return fmt.Errorf("%w: %+v", err, r)
		}
		return nil
	})
	figure(t, "4 containers whose name is taken are listed as unknown to the root, which waits")
	stream.close(t)
	f.unchanged(before)
	f.notMore(before)
}

// robbed is F9: the cluster-manager loses its store and with it its key. It is
// approved again and takes up what its workers run.
func (f *field) robbed() {
	t := f.user.t
	t.Helper()
	id := f.ClusterID("field")
	ids, stream, before := f.served("robbed", "10.30.7.1", 3)
	f.Cluster.Kill()
	f.remove(f.Lab.Path("cluster-field"))
	f.Cluster.Again()
	begin := time.Now()
	eventually(t, "the site asks to be itself again", 30*time.Second, func() error {
		_, err := f.do("POST", "/api/cluster/field/approve", nil, nil)
		return err
	})
	figure(t, "the site without its store could be approved after %s", time.Since(begin).Round(100*time.Millisecond))
	approved := time.Now()
	f.WaitWorkers(time.Minute, "w1", "w2")
	var listed time.Duration // the last time that something was not listed as running
	holds(t, "the API answers", 40*time.Second, func() error {
		if f.running(ids["server"], 3) != nil || f.running(ids["client"], 1) != nil {
			listed = time.Since(approved)
		}
		return nil
	})
	f.fatal(f.running(ids["server"], 3))
	f.fatal(f.running(ids["client"], 1))
	figure(t, "from the approval until all instances are RUNNING for the API again: %s", listed.Round(100*time.Millisecond))
	if now := f.ClusterID("field"); now != id {
		t.Errorf("the cluster was %s and is %s", id, now)
	}
	stream.close(t)
	f.unchanged(before)
	f.notMore(before)
	f.scale(ids["server"], 4) // it places again
	f.waitRunning(ids["server"], 4, time.Minute)
	f.unchanged(before)
	f.scale(ids["server"], 2) // and removes
	f.waitRunning(ids["server"], 2, time.Minute)
}
