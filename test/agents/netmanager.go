package agents

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// patience is the originals' own: 10 s for a subnet or a table.
const patience = 10 * time.Second

// Result is a table as a NetManager reads it; a string for host_port makes it
// drop the whole table.
type Result struct {
	AppName  string `json:"app_name"`
	QueryKey string `json:"query_key"`
	Entries  []struct {
		Number        int    `json:"instance_number"`
		NamespaceIP   string `json:"namespace_ip"`
		NamespaceIPv6 string `json:"namespace_ip_v6"`
		HostIP        string `json:"host_ip"`
		HostPort      int    `json:"host_port"`
		ServiceIP     []struct {
			Type    string `json:"IpType"`
			Address string `json:"Address"`
		} `json:"service_ip"`
	} `json:"instance_list"`
}

// NetManager is one; its client id is the bare node id.
type NetManager struct {
	Subnet netip.Addr // base address of its /26

	t      testing.TB
	gen    Generation
	id     string
	client paho.Client
	tables chan Result
	subnet chan netip.Addr

	mu   sync.Mutex
	next netip.Addr
}

func startNetManager(t testing.TB, g Generation, broker, id string) *NetManager {
	t.Helper()
	n := &NetManager{t: t, gen: g, id: id, tables: make(chan Result, 64), subnet: make(chan netip.Addr, 4)}
	n.client = connect(t, broker, id, map[string]paho.MessageHandler{
		"nodes/" + id + "/net/subnetwork/result": func(_ paho.Client, m paho.Message) { n.hearSubnet(m) },
		"nodes/" + id + "/net/tablequery/result": func(_ paho.Client, m paho.Message) {
			var r Result
			if err := json.Unmarshal(m.Payload(), &r); err != nil {
				t.Errorf("%s: table %s: %v", id, m.Payload(), err)
				return
			}
			n.tables <- r
		},
	})
	publish(n.client, "nodes/"+id+"/net/subnet", map[string]string{"METHOD": "GET"})
	select {
	case n.Subnet = <-n.subnet:
		n.next = n.Subnet.Next() // the bridge
	case <-time.After(patience):
		t.Fatalf("%s: no subnet: the original exits", id)
	}
	return n
}

func (n *NetManager) hearSubnet(m paho.Message) {
	var r struct {
		Address   string `json:"address"`
		AddressV6 string `json:"addressv6"`
	}
	err := json.Unmarshal(m.Payload(), &r)
	a, bad := netip.ParseAddr(r.Address)
	if err != nil || bad != nil {
		n.t.Errorf("%s: subnet %s: %v %v", n.id, m.Payload(), err, bad)
		return
	}
	if v6, err := netip.ParseAddr(r.AddressV6); n.gen.late && (err != nil || !v6.Is6()) {
		n.t.Errorf("%s: subnet %s without IPv6: the original exits", n.id, m.Payload())
	}
	select {
	case n.subnet <- a:
	default:
	}
}

// attach gives a container its address, tells the cluster, and takes an
// interest in the service.
func (n *NetManager) attach(t task) {
	n.mu.Lock()
	n.next = n.next.Next()
	at := n.next
	n.mu.Unlock()
	d := map[string]any{"appname": t.Name, "status": "DEPLOYED", "instance_number": t.Number, "nsip": at.String(), "host_port": "50103", "host_ip": "192.0.2.2"}
	if n.gen.late {
		d["nsipv6"] = "fc00::" + fmt.Sprintf("%x", at.As4()[3])
	}
	publish(n.client, "nodes/"+n.id+"/net/service/deployed", d)
	n.client.Subscribe("jobs/"+t.Name+"/updates_available", 1, func(paho.Client, paho.Message) {})
	publish(n.client, "nodes/"+n.id+"/net/tablequery/request", map[string]string{"sname": t.Name, "sip": ""})
}

// Ask asks for a service by name or by one of its addresses, and waits for the
// answer with that key.
func (n *NetManager) Ask(name, address string) Result {
	n.t.Helper()
	publish(n.client, "nodes/"+n.id+"/net/tablequery/request", map[string]string{"sname": name, "sip": address})
	limit := time.After(patience)
	for {
		select {
		case r := <-n.tables:
			if r.QueryKey == name+address {
				return r
			}
		case <-limit:
			n.t.Fatalf("%s: no answer for %q: the original never asks again", n.id, name+address)
		}
	}
}

// Own waits for the answer to the query that followed a container's start.
func (n *NetManager) Own(name string) Result {
	n.t.Helper()
	select {
	case r := <-n.tables:
		if r.QueryKey != name {
			n.t.Errorf("%s: answered %q, not %q", n.id, r.QueryKey, name)
		}
		return r
	case <-time.After(patience):
		n.t.Fatalf("%s: no answer for %q", n.id, name)
		return Result{}
	}
}

// Net is the NetManager beside the engine, nil for none.
func (e *Engine) Net() *NetManager { return e.net }
