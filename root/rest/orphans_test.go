package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
	"oakestra/root/store"
)

// strays puts containers without a record on the workers of sites.
func (r *rig) strays() (nginx string) {
	r.sites()
	r.below.nodes = append(r.below.nodes, control.NodeView{Node: model.Node{ID: "w3", Host: "host3"}, Cluster: "c2", ClusterName: "cellar", Liveness: instance.Lost})
	r.below.nodes = append(r.below.nodes, control.NodeView{Node: model.Node{ID: "w4", Host: "host4"}, Cluster: "c2", ClusterName: "cellar"})
	_, svcs := r.seed("ann")
	nginx = svcs["nginx"]
	epoch := instance.Epoch{Grant: instance.MakeGrant(1, 2), Try: 3}
	r.below.unknown = []control.UnknownView{
		{Cluster: "c1", Node: "w1", ServiceName: "clientsrvr.test.nginx.test", Instance: model.InstanceID{Number: 4}, Since: seenAt},
		{Cluster: "c1", Node: "w1", ServiceName: "x.y.z.w", Instance: model.InstanceID{Service: "eeee", Number: 0}, Epoch: epoch, Ending: true},
		{Cluster: "c2", Node: "w3", ServiceName: "x.y.z.w", Instance: model.InstanceID{Number: 0}},
		{Cluster: "c2", Instance: model.InstanceID{Service: "held", Number: 1}, Epoch: epoch, Held: true},
	}
	return nginx
}

func (r *rig) orphans(query string) (list []wire.Orphan, names string) {
	r.t.Helper()
	r.call("ida", http.MethodGet, "/api/orphans"+query, nil).want(200).into(&list)
	var out []string
	for _, o := range list {
		out = append(out, fmt.Sprintf("%s/%s/%s%s/%d", o.ClusterName, o.NodeID, o.JobName, o.MicroserviceID, o.InstanceNumber))
	}
	return list, strings.Join(out, " ")
}

func TestOrphansAreListed(t *testing.T) {
	r := newRig(t)
	nginx := r.strays()
	a, b, c, d := "kitchen/w1/clientsrvr.test.nginx.test"+nginx+"/4", "kitchen/w1/x.y.z.weeee/0", "cellar//held/1", "cellar/w3/x.y.z.w/0"
	for query, want := range map[string][]string{
		"": {a, b, c, d}, "?cluster=kitchen": {a, b}, "?cluster=c2": {c, d}, "?node=w1": {a, b}, "?node=host3": {d}, "?cluster=c2&node=host3": {d}, "?node=host4": nil,
		"?status=removing": {b}, "?name=NGINX": {a}, "?limit=1": {a}, "?name=host": {d},
	} {
		if _, got := r.orphans(query); got != strings.Join(want, " ") {
			t.Errorf("%s: %s, want %v", query, got, want)
		}
	}
	for query, text := range map[string]string{
		"?cluster=attic": "cluster attic:", "?node=attic": "node attic:", "?cluster=c1&node=w3": "node w3 of cluster c1:", "?cluster=attic&node=w1": "cluster attic:",
	} {
		if p := r.call("ida", http.MethodGet, "/api/orphans"+query, nil).refused(404); !strings.HasPrefix(strings.ReplaceAll(p.Message, `"`, ""), text) {
			t.Errorf("%s: %s, want %q", query, p.Message, text)
		}
	}
	all, _ := r.orphans("")
	for i, want := range []string{"the service has no instance 4", "no such service", "its cluster has an order", "no such service"} {
		if !strings.Contains(all[i].Reason, want) {
			t.Errorf("%+v: want %q", all[i], want)
		}
	}
	if all[0].Since == "" || all[0].Status != "found" || all[1].Status != "removing" || all[1].Epoch != "1.2/3" || all[0].Epoch != "0.0/0" || all[3].Host != "host3" {
		t.Errorf("%+v", all)
	}
	r.call("ann", http.MethodGet, "/api/orphans", nil).refused(403)
	var sites []wire.Cluster
	r.call("ann", http.MethodGet, "/api/clusters", nil).want(200).into(&sites)
	if len(sites) != 2 || sites[0].Orphans+sites[1].Orphans != 4 || sites[0].Orphans != 2 {
		t.Errorf("%+v", sites)
	}
	r.below.recovers = true
	if all, _ = r.orphans(""); !strings.Contains(all[0].Reason, "recovery") {
		t.Errorf("%+v", all[0])
	}
}

// Names of services and workers may be long; every page leads to the next.
func TestPagesOfOrphansWithLongNames(t *testing.T) {
	r := newRig(t)
	r.sites()
	name := strings.Repeat("n", 30)
	long := strings.Join([]string{name, name, name, name}, ".")
	host := model.NodeID(strings.Repeat("h", 90))
	for _, n := range []string{long, long + "b", long + "a"} {
		r.below.unknown = append(r.below.unknown, control.UnknownView{Cluster: "cccccccccccccccccccccccc", Node: host, ServiceName: n})
	}
	seen := map[string]bool{}
	next := ""
	for range 3 {
		a := r.call("ida", http.MethodGet, "/api/orphans?limit=1&cursor="+next, nil).want(200)
		var list []wire.Orphan
		a.into(&list)
		seen[list[0].JobName] = true
		next = a.Header().Get(headerCursor)
	}
	if len(seen) != 3 || next != "" {
		t.Errorf("%d of 3, next %q", len(seen), next)
	}
}

// counted is a store that counts the records of instances that are read.
type counted struct {
	store.Store
	reads *atomic.Int64
}

type countedInstances struct {
	store.Instances
	reads *atomic.Int64
}

func (c counted) Instances() store.Instances { return countedInstances{c.Store.Instances(), c.reads} }

func (c countedInstances) Get(ctx context.Context, id model.InstanceID) (store.Instance, error) {
	c.reads.Add(1)
	return c.Instances.Get(ctx, id)
}

// A cluster may have thousands of orphans, removed one by one: what one call
// costs does not grow with them.
func TestOnlyTheRecordsOfShownOrphansAreRead(t *testing.T) {
	var reads atomic.Int64
	r := newRig(t)
	id := r.strays()
	r.below.unknown = nil
	for i := range 50 {
		r.below.unknown = append(r.below.unknown, control.UnknownView{Cluster: "c1", Node: "w1", Instance: model.InstanceID{Service: model.ServiceID(id), Number: i}})
	}
	ctl := control.New(control.Deps{Store: counted{r.store, &reads}, Addresses: r.addresses, Below: r.below, Places: r.places, Dialogs: r.places, Events: r.journal, Logger: slog.New(slog.DiscardHandler)})
	r.handler = New(Deps{Control: ctl, Events: r.journal, Auth: r.auth, Below: r.below, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if list, _ := r.orphans("?limit=2"); len(list) != 2 || list[1].Reason == "" || reads.Load() != 2 {
		t.Errorf("%+v; %d records were read for 2 on the page", list, reads.Load())
	}
	reads.Store(0)
	r.call("ida", http.MethodDelete, "/api/orphans/c1/w1/"+id+"/7?epoch=0.0%2F0", nil).want(200)
	if reads.Load() != 0 {
		t.Errorf("%d records were read to remove one", reads.Load())
	}
}

func TestOrphansAreRemoved(t *testing.T) {
	r := newRig(t)
	nginx := r.strays()
	remove := func(path, epoch string) string { return "/api/orphans/" + path + "?epoch=" + url.QueryEscape(epoch) }
	said := func(path, epoch string) string {
		t.Helper()
		var m wire.Message
		r.call("ida", http.MethodDelete, remove(path, epoch), nil).want(200).into(&m)
		return m.Message
	}
	if got := said("kitchen/w1/clientsrvr.test.nginx.test/4", "0.0/0"); got != "clientsrvr.test.nginx.test/4 is removed" {
		t.Errorf("%s", got)
	}
	said("c1/w1/"+nginx+"/4/", "0.0/0")
	if got := said("cellar/w3/x.y.z.w/0", "0.0/0"); got != "worker w3 is lost: x.y.z.w/0 is removed when it returns" {
		t.Errorf("%s", got)
	}
	said("c2/-/held/1", "1.2/3")
	want := []string{"end c1/w1 " + nginx + "/4 clientsrvr.test.nginx.test 0.0/0", "end c1/w1 " + nginx + "/4 clientsrvr.test.nginx.test 0.0/0", "end c2/w3 /0 x.y.z.w 0.0/0", "end c2/ held/1  1.2/3"}
	if !slices.Equal(r.places.asked, want) {
		t.Errorf("asked %q, want %q", r.places.asked, want)
	}
	var told []wire.Event
	r.call("ida", http.MethodGet, "/api/nodes/w3/events", nil).want(200).into(&told)
	if len(told) != 1 || told[0].Reason != "OrphanOrdered" || !strings.Contains(told[0].Message, "ida") {
		t.Errorf("%+v", told)
	}
	if !strings.Contains(r.log.String(), "msg=audit method=DELETE path=/api/orphans/cellar/w3/x.y.z.w/0 status=200 user=ida") {
		t.Error("no audit line")
	}
	for _, c := range []struct {
		path, epoch string
		status      int
		text        string
	}{
		{"kitchen/w1/x.y.z.w/0", "1.2/4", 409, "1.2/3"},
		{"kitchen/w1/x.y.z.w/0", "0.0/0", 409, "1.2/3"},
		{"kitchen/w2/x.y.z.w/0", "1.2/3", 404, "w2"},
		{"kitchen/w1/x.y.z.w/1", "1.2/3", 404, "x.y.z.w/1"},
		{"attic/w1/x.y.z.w/0", "1.2/3", 404, "attic"},
		{"kitchen/w1/x.y.z.w/x", "1.2/3", 404, "number"},
		{"kitchen/w1/x.y.z.w/0", "", 422, ""},
		{"kitchen/w1/x.y.z.w/0", "4294967296.0/0", 422, ""},
	} {
		if p := r.call("ida", http.MethodDelete, remove(c.path, c.epoch), nil).refused(c.status); !strings.Contains(p.Message, c.text) {
			t.Errorf("%s %s: %s", c.path, c.epoch, p.Message)
		}
	}
	r.call("ann", http.MethodDelete, remove("cellar/w3/x.y.z.w/0", "0.0/0"), nil).refused(403)
	for class, status := range map[error]int{errs.Unavailable: 503, errs.Conflict: 409, errs.NotFound: 404} {
		r.places.err = fmt.Errorf("the cluster says so: %w", class)
		if p := r.call("ida", http.MethodDelete, remove("cellar/w3/x.y.z.w/0", "0.0/0"), nil).refused(status); !strings.Contains(p.Message, "says so") {
			t.Errorf("%s", p.Message)
		}
	}
	r.places.err = nil
	r.below.recovers = true
	r.call("ida", http.MethodDelete, remove("cellar/w3/x.y.z.w/0", "0.0/0"), nil).refused(503)
}

// The reason follows what the root knows of the instance.
func TestWhyNothingExplainsAnOrphan(t *testing.T) {
	r := newRig(t)
	r.sites()
	_, svcs := r.seed("ann")
	id := model.InstanceID{Service: model.ServiceID(svcs["nginx"])}
	r.call("ann", http.MethodPost, "/api/service/"+svcs["nginx"]+"/instance", nil).want(200)
	r.below.unknown = []control.UnknownView{{Cluster: "c2", Node: "w1", Instance: id}}
	record := func(change func(in *store.Instance)) {
		t.Helper()
		_, err := r.store.Instances().Update(t.Context(), id, func(in store.Instance) (store.Instance, error) {
			change(&in)
			return in, nil
		})
		must(t, err)
	}
	for _, c := range []struct {
		change func(in *store.Instance)
		want   string
	}{
		{func(*store.Instance) {}, "the instance is assigned to no cluster"},
		{func(in *store.Instance) { in.Cluster, in.Grant = "c1", 1 }, "the instance is assigned to cluster kitchen"},
		{func(in *store.Instance) { in.Cluster = "c2" }, "the instance is placed by its cluster, and this is no container of it that the cluster knows of"},
		{func(*store.Instance) {
			r.below.facts[id] = control.InstanceView{Placement: instance.Placement{Node: "w2"}, Cluster: "c2"}
		}, "the instance is placed on worker w2"},
		{func(in *store.Instance) { in.Tombstone = true }, "the instance is being removed, and this is no container that its cluster knows of"},
	} {
		record(c.change)
		if list, _ := r.orphans(""); len(list) != 1 || list[0].Reason != c.want || list[0].JobName != "clientsrvr.test.nginx.test" {
			t.Errorf("%+v, want %q", list, c.want)
		}
	}
}
