package mqttlink

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// agent is a worker with a real MQTT client. What it writes and how it reads is
// spelled out here once more, from the worker's side.
type agent struct {
	id     string
	client paho.Client
	inbox  chan nodelink.Outbound
	ready  chan struct{} // one token per completed subscription
}

func newAgent(t testing.TB, url string, id model.NodeID) *agent {
	a := &agent{id: string(id), inbox: make(chan nodelink.Outbound, 4096), ready: make(chan struct{}, 16)}
	o := paho.NewClientOptions().AddBroker(url).SetClientID(mqtt.NetClientID(a.id)).SetCleanSession(true)
	o.SetAutoReconnect(true).SetMaxReconnectInterval(50 * time.Millisecond).SetConnectRetry(true)
	o.SetConnectRetryInterval(50 * time.Millisecond).SetOrderMatters(true)
	o.SetOnConnectHandler(func(c paho.Client) {
		subs := map[string]byte{"jobs/+/updates_available": 1}
		for _, s := range []string{
			mqtt.DownDeploy, mqtt.DownDelete, mqtt.DownProbe, mqtt.DownSession, mqtt.DownSubnet, mqtt.DownTableResult, mqtt.DownNetState,
		} {
			subs[mqtt.NodeTopic(a.id, s)] = 1
		}
		if tok := c.SubscribeMultiple(subs, a.hear); tok.WaitTimeout(5*time.Second) && tok.Error() == nil {
			a.ready <- struct{}{}
		}
	})
	a.client = paho.NewClient(o)
	a.client.Connect()
	a.await(t)
	t.Cleanup(func() { a.client.Disconnect(250) })
	return a
}

func (a *agent) await(t testing.TB) {
	t.Helper()
	select {
	case <-a.ready:
	case <-time.After(15 * time.Second):
		t.Fatalf("agent of %s does not get to the broker", a.id)
	}
}

// Recv waits for a message.
func (a *agent) Recv(ctx context.Context) (nodelink.Outbound, bool) {
	select {
	case m := <-a.inbox:
		return m, true
	case <-ctx.Done():
		return nodelink.Outbound{}, false
	}
}

// Send publishes at QoS 1, as agents do.
func (a *agent) Send(t testing.TB, in nodelink.Inbound) {
	t.Helper()
	suffix, payload := wireUp(in)
	b, err := json.Marshal(payload)
	if err != nil {
		t.Error(err)
		return
	}
	a.publish(t, mqtt.NodeTopic(a.id, suffix), b)
}

func (a *agent) publish(t testing.TB, topic string, payload []byte) {
	t.Helper()
	tok := a.client.Publish(topic, 1, false, payload)
	if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Errorf("publish %s: %v", topic, tok.Error())
	}
}

func wireUp(in nodelink.Inbound) (string, any) {
	switch {
	case in.Report != nil:
		return mqtt.UpInformation, upReport(in.Report)
	case in.Change != nil:
		c := in.Change
		return mqtt.UpJob, mqtt.Job{
			Name: c.JobName, Status: c.Word, StatusDetail: c.Observed.Reason, Instance: c.Number, PublicIP: c.PublicIP,
			ServiceID: string(c.Service), Grant: uint64(c.Observed.Epoch.Grant), Try: c.Observed.Epoch.Try,
			StateSeq: c.Observed.Seq, ExitCode: c.Observed.Exit,
		}
	case in.Gone != nil:
		return mqtt.UpGone, mqtt.Gone{Agent: in.Gone.Agent, Boot: in.Gone.Boot}
	case in.Net != nil:
		n := in.Net
		w := mqtt.NetReport{
			Boot: n.Boot, Seq: n.Seq, Snapshot: n.Snapshot, Dataplane: string(n.Dataplane), HostIP: text(n.HostIP),
			HostPort: int(n.HostPort), Subnet: n.Subnet.String(), Applied: n.Applied, Interests: n.Interests,
		}
		for _, e := range n.Endpoints {
			w.Endpoints = append(w.Endpoints, upDeployed(e))
		}
		return mqtt.UpNetReport, w
	case in.Subnet != nil:
		return mqtt.UpSubnet, mqtt.SubnetRequest{Method: "GET"}
	case in.Deployed != nil:
		return mqtt.UpDeployed, upDeployed(*in.Deployed)
	case in.Undeployed != nil:
		e := in.Undeployed
		return mqtt.UpUndeployed, mqtt.Undeployed{
			AppName: e.JobName, InstanceNumber: e.Number, NamespaceIP: text(e.NamespaceIP), ServiceID: string(e.Service),
			Grant: uint64(e.Epoch.Grant), Try: e.Epoch.Try,
		}
	case in.Query != nil:
		return mqtt.UpTableQuery, mqtt.TableQuery{Name: in.Query.Name, Address: text(in.Query.Address)}
	case in.Uninterest != nil:
		return mqtt.UpInterestRemove, mqtt.InterestRemove{AppName: in.Uninterest.Name}
	}
	return mqtt.UpNetAck, mqtt.NetAck{Boot: in.Ack.Boot, Version: in.Ack.Version, Error: in.Ack.Error}
}

func upReport(r *nodelink.NodeReport) mqtt.Information {
	w := mqtt.Information{
		Memory: r.Usage.MemoryPercent, MemoryFreeInMB: r.FreeMemory, Boot: r.Boot, Seq: r.Seq,
		CPUPercent: r.Usage.CPUPercent, Combined: r.Complete,
	}
	for _, c := range r.Containers {
		w.Services = append(w.Services, mqtt.ServiceReport{
			JobName: c.JobName, Instance: c.Number, CPU: fmt.Sprintf("%f", c.Vital.Usage.CPUPercent),
			Memory: fmt.Sprintf("%f", float64(c.Vital.Usage.MemoryBytes)), Disk: fmt.Sprint(c.Vital.Usage.DiskBytes),
			Logs: c.Vital.LogTail, ServiceID: string(c.Service), Grant: uint64(c.Observed.Epoch.Grant),
			Try: c.Observed.Epoch.Try, State: "RUNNING", StateSeq: c.Observed.Seq, Reason: c.Observed.Reason,
			ExitCode: c.Observed.Exit, NamespaceIP: text(c.Vital.NamespaceIP),
		})
	}
	return w
}

func upDeployed(e nodelink.Endpoint) mqtt.Deployed {
	return mqtt.Deployed{
		AppName: e.JobName, Status: "DEPLOYED", InstanceNumber: e.Number, NamespaceIP: text(e.NamespaceIP),
		HostPort: fmt.Sprint(e.HostPort), HostIP: text(e.HostIP), ServiceID: string(e.Service),
		Grant: uint64(e.Epoch.Grant), Try: e.Epoch.Try,
	}
}

func (a *agent) hear(_ paho.Client, m paho.Message) {
	if out, ok := wireDown(m.Topic(), m.Payload()); ok {
		a.inbox <- out
	}
}

func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

func wireDown(topic string, payload []byte) (out nodelink.Outbound, ok bool) {
	_, suffix, ours := mqtt.SplitNodeTopic(topic)
	if !ours {
		u, err := read[mqtt.UpdatesAvailable](payload)
		job := topic[len("jobs/") : len(topic)-len("/updates_available")]
		return nodelink.Outbound{Updates: &nodelink.UpdatesAvailable{JobName: job, Removed: u.Type == "UNDEPLOYMENT"}}, err == nil
	}
	var err error
	switch suffix {
	case mqtt.DownDeploy:
		var w mqtt.Deploy
		w, err = read[mqtt.Deploy](payload)
		out.Deploy = downDeploy(w)
	case mqtt.DownDelete:
		var w mqtt.Delete
		w, err = read[mqtt.Delete](payload)
		name, _ := model.ParseServiceName(w.JobName)
		out.Delete = &nodelink.Delete{
			Attempt: downAttempt(w.ServiceID, w.InstanceNumber, w.Grant, w.Try), Name: name,
			Runtime: w.Virtualization, GraceMS: w.GraceMS,
		}
	case mqtt.DownProbe:
		out.Probe = &nodelink.Probe{}
	case mqtt.DownSession:
		var w mqtt.Session
		w, err = read[mqtt.Session](payload)
		out.Session = &nodelink.Session{
			ID: w.ID, Kind: w.Kind, Attempt: downAttempt(w.ServiceID, w.InstanceNumber, w.Grant, w.Try), Follow: w.Follow, Tail: w.Tail,
			SinceMS: w.SinceMS, Command: w.Command, Stdin: w.Stdin, TTY: w.TTY, Columns: w.Columns, Rows: w.Rows,
		}
	case mqtt.DownSubnet:
		var w mqtt.SubnetResult
		w, err = read[mqtt.SubnetResult](payload)
		out.Subnet = &nodelink.SubnetResult{Error: w.Error}
		if w.Address != "" {
			out.Subnet.Subnet = netip.PrefixFrom(addr(w.Address), w.Bits)
		}
	case mqtt.DownTableResult:
		var w mqtt.TableResult
		w, err = read[mqtt.TableResult](payload)
		out.Table = downTableResult(w)
	case mqtt.DownNetState:
		var w mqtt.NetState
		w, err = read[mqtt.NetState](payload)
		out.Net = downNetState(w)
	}
	return out, err == nil
}

func downAttempt(service string, number int, grant uint64, try uint32) instance.Attempt {
	return instance.Attempt{
		Instance: model.InstanceID{Service: model.ServiceID(service), Number: number},
		Epoch:    instance.Epoch{Grant: instance.Grant(grant), Try: try},
	}
}

func downDeploy(w mqtt.Deploy) *nodelink.Deploy {
	name, _ := model.ParseServiceName(w.JobName)
	return &nodelink.Deploy{
		Attempt: downAttempt(w.ID, w.InstanceNumber, w.Grant, w.Try), Name: name, Runtime: w.Virtualization,
		Spec: model.ServiceSpec{
			Image: w.Image, Command: w.Command, Environment: w.Environment, PortText: w.Port, OneShot: w.OneShot,
			Demand: model.Resources{MilliCPU: w.MilliCPU, MemoryMB: int64(w.Memory), GPUs: int64(w.VGPUs), DiskMB: int64(w.Storage)},
		},
		ServiceAddress: addr(w.ServiceIP), InstanceAddress: addr(w.InstanceIP), Tenant: w.Tenant,
	}
}

func downTableResult(w mqtt.TableResult) *nodelink.TableResult {
	name, known := model.ParseServiceName(w.AppName)
	r := &nodelink.TableResult{Key: w.QueryKey, Known: known, Version: w.Version}
	r.Service.Name, r.Service.Service = name, model.ServiceID(w.ServiceID)
	for _, e := range w.Entries {
		r.Service.Address = addr(e.ServiceIP[0].Address)
		r.Service.Entries = append(r.Service.Entries, nodelink.TableEntry{
			Number: e.InstanceNumber, InstanceAddress: addr(e.ServiceIP[1].Address), NamespaceIP: addr(e.NamespaceIP),
			HostIP: addr(e.HostIP), HostPort: uint16(e.HostPort),
		})
	}
	return r
}

func downNetState(w mqtt.NetState) *nodelink.NetState {
	s := &nodelink.NetState{Epoch: w.Epoch, Base: w.Base, Version: w.Version, Snapshot: w.Snapshot}
	for _, t := range w.Tables {
		name, _ := model.ParseServiceName(t.Name)
		d := nodelink.Table{Service: model.ServiceID(t.ServiceID), Name: name, Address: addr(t.Address), Tenant: t.Tenant}
		for _, e := range t.Entries {
			d.Entries = append(d.Entries, nodelink.TableEntry{
				Number: e.Instance, InstanceAddress: addr(e.InstanceIP), NamespaceIP: addr(e.NamespaceIP), Node: model.NodeID(e.Node),
			})
		}
		s.Tables = append(s.Tables, d)
	}
	for _, p := range w.Peers {
		subnet, _ := netip.ParsePrefix(p.Subnet)
		d := nodelink.Peer{
			Node: model.NodeID(p.Node), HostIP: addr(p.HostIP), HostPort: uint16(p.HostPort), Subnet: subnet,
			Dataplane: model.Dataplane(p.Dataplane),
		}
		for _, i := range p.Identities {
			d.Identities = append(d.Identities, nodelink.Identity{
				NamespaceIP: addr(i.NamespaceIP), InstanceAddress: addr(i.InstanceIP), Tenant: i.Tenant,
			})
		}
		s.Peers = append(s.Peers, d)
	}
	for _, g := range w.GoneTables {
		s.GoneTables = append(s.GoneTables, model.ServiceID(g))
	}
	for _, g := range w.GonePeers {
		s.GonePeers = append(s.GonePeers, model.NodeID(g))
	}
	return s
}
