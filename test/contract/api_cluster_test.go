package contract

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/testkit"
)

// fakeCluster is the other end of a root's link: it has the workers it is
// given, runs nothing and obeys.
type fakeCluster struct {
	t      *testing.T
	name   string
	stream linkv1.Link_ControlClient
	id     string

	mu      sync.Mutex       // of Send
	strays  []*linkv1.Orphan // of the test alone
	drained []*linkv1.NodeInstance
	end     func()
}

// join connects a cluster and waits until the root has it.
func (r *apiRig) join(name string) *fakeCluster {
	r.t.Helper()
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	c := &fakeCluster{t: r.t, name: name}
	var done sync.WaitGroup
	c.end = sync.OnceFunc(func() { cancel(); done.Wait(); _ = conn.Close() })
	r.t.Cleanup(c.end)
	c.stream, err = linkv1.NewLinkClient(conn).Control(ctx)
	must(r.t, err)
	c.say(&linkv1.Up{Body: &linkv1.Up_Hello{Hello: &linkv1.Hello{ClusterName: name, ClusterKey: "the secret key of " + name, Session: "s", Version: "test", Location: "48.1,11.5,1000", Abilities: []string{"orphans"}}}})
	first, err := c.stream.Recv()
	must(r.t, err)
	c.id = first.GetWelcome().GetClusterId()
	done.Go(c.obey)
	return c
}

// say sends a message; how a stream ends is read, not written.
func (c *fakeCluster) say(u *linkv1.Up) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.stream.Send(u)
}

func (c *fakeCluster) beat() {
	c.say(&linkv1.Up{Body: &linkv1.Up_Heartbeat{Heartbeat: &linkv1.Heartbeat{}}})
}

// obey acknowledges orders until the stream ends.
func (c *fakeCluster) obey() {
	for {
		m, err := c.stream.Recv()
		if err != nil {
			return
		}
		o := m.GetNodeOrder()
		if o == nil {
			continue
		}
		done := &linkv1.NodeOrdered{Id: o.GetId()}
		switch o.GetVerb() {
		case linkv1.NodeVerb_NODE_VERB_DRAIN:
			done.Instances = c.drained
		case linkv1.NodeVerb_NODE_VERB_REMOVE:
			c.say(&linkv1.Up{Body: &linkv1.Up_Nodes{Nodes: &linkv1.NodeUpdate{Removed: []string{o.GetNodeId()}}}})
		case linkv1.NodeVerb_NODE_VERB_CORDON, linkv1.NodeVerb_NODE_VERB_UNCORDON, linkv1.NodeVerb_NODE_VERB_CONFIRM_LOSS, linkv1.NodeVerb_NODE_VERB_END_ORPHAN:
		default:
			done.Result, done.Message = linkv1.OrderResult_ORDER_RESULT_CONFLICT, "not understood"
		}
		c.say(&linkv1.Up{Body: &linkv1.Up_NodeOrdered{NodeOrdered: done}})
	}
}

// stray makes the worker w1 run one more container without a record, and is the
// path to remove it, once the root has heard of it.
func (r *apiRig) stray(name string) (path string) {
	r.t.Helper()
	job := "x.y." + name + ".z"
	r.link.strays = append(r.link.strays, &linkv1.Orphan{NodeId: "w1", ServiceName: job})
	r.link.say(&linkv1.Up{Body: &linkv1.Up_Report{Report: &linkv1.Report{Orphans: r.link.strays}}})
	r.shows("/api/orphans", job)
	return "/api/orphans/" + r.link.id + "/w1/" + job + "/0?epoch=0.0%2F0"
}

// worker adds one and waits until the API shows it.
func (r *apiRig) worker(id string) string {
	r.t.Helper()
	r.link.say(&linkv1.Up{Body: &linkv1.Up_Nodes{Nodes: &linkv1.NodeUpdate{Nodes: []*linkv1.Node{{
		Id: id, Host: id, Address: "192.0.2.11", Architecture: "amd64", Runtimes: []string{"container"},
		Capacity: &linkv1.Resources{MilliCpu: 4000, MemoryMb: 2048}, Reserved: &linkv1.Resources{},
		Liveness: linkv1.NodeLiveness_NODE_LIVENESS_ALIVE, LastSeenUnixMs: 1_700_000_000_000, AgentVersion: "test",
	}}}}})
	r.shows("/api/nodes/"+id, "")
	return id
}

// shows waits until the admin finds a path, and in it a text.
func (r *apiRig) shows(path, text string) {
	r.t.Helper()
	testkit.Eventually(r.t, patience, func() error {
		a := r.send(r.t, http.MethodGet, path, r.token("Admin"), nil)
		if a.code != http.StatusOK || !contains(a.body, text) {
			return fmt.Errorf("%s: %d %s", path, a.code, a.body)
		}
		return nil
	})
}

// gone is the id of a cluster that was there once.
func (r *apiRig) gone() string {
	r.t.Helper()
	c := r.join(r.fresh("gone"))
	r.shows("/api/cluster/"+c.id, "")
	c.end()
	r.shows("/api/cluster/"+c.id+"/events", `"Left"`)
	return c.id
}

// connected gives the root a cluster that stays, and the owner something that
// is meant to run.
func (r *apiRig) connected() {
	r.t.Helper()
	r.link = r.join("kitchen")
	r.link.say(&linkv1.Up{Body: &linkv1.Up_Aggregate{Aggregate: &linkv1.Aggregate{ActiveNodes: 1, Capacity: &linkv1.Resources{}, Reserved: &linkv1.Resources{}, Runtimes: []string{"container"}}}})
	r.shows("/api/clusters/active", r.link.id)
	r.worker("w1")
	r.link.say(&linkv1.Up{Body: &linkv1.Up_Event{Event: &linkv1.EventNote{Kind: "node-joined", Subject: "w1", Message: "hello", UnixMs: 1_700_000_000_000}}})
	r.shows("/api/nodes/w1/events", `"reason"`)
	r.stray("kept")
	r.app, r.service = r.newApp()
	r.good(http.MethodPost, "/api/service/"+r.service+"/instance", r.token("owner"), nil, nil)
	r.good(http.MethodPost, "/api/tokens", r.token("owner"), body{"name": "kept", "scopes": []string{"read"}}, nil)
	r.link.drained = []*linkv1.NodeInstance{{ServiceId: r.service, ToNodeId: "w2"}, {ServiceId: r.service, Number: 1, Reason: "memory 1"}}
}
