package mqttlink

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// decoder turns one kind of payload into a typed message.
type decoder func(payload []byte) (nodelink.Inbound, error)

// decoders by topic suffix; other topics are not subscribed.
// UpAddressChanged is not among them: its senders cut the service's name off.
var decoders = map[string]decoder{
	mqtt.UpInformation:    decodeInformation,
	mqtt.UpResources:      decodeResources,
	mqtt.UpJob:            decodeJob,
	mqtt.UpGone:           decodeGone,
	mqtt.UpSubnet:         decodeSubnet,
	mqtt.UpDeployed:       decodeDeployed,
	mqtt.UpUndeployed:     decodeUndeployed,
	mqtt.UpTableQuery:     decodeQuery,
	mqtt.UpInterestRemove: decodeUninterest,
	mqtt.UpNetReport:      decodeNetReport,
	mqtt.UpNetAck:         decodeNetAck,
}

// upSuffixes lists the suffixes of decoders in a fixed order.
func upSuffixes() []string {
	return []string{
		mqtt.UpInformation, mqtt.UpResources, mqtt.UpJob, mqtt.UpGone, mqtt.UpSubnet, mqtt.UpDeployed,
		mqtt.UpUndeployed, mqtt.UpTableQuery, mqtt.UpInterestRemove, mqtt.UpNetReport, mqtt.UpNetAck,
	}
}

// decode reads a worker's message. Error: errs.Invalid.
func decode(suffix string, payload []byte) (nodelink.Inbound, error) {
	d := decoders[suffix]
	if d == nil {
		return nodelink.Inbound{}, fmt.Errorf("topic %q: %w", suffix, errs.Invalid)
	}
	in, err := d(payload)
	if err != nil {
		return nodelink.Inbound{}, fmt.Errorf("%s: %w: %w", suffix, err, errs.Invalid)
	}
	return in, nil
}

func read[T any](payload []byte) (T, error) {
	var v T
	err := json.Unmarshal(payload, &v)
	return v, err
}

func decodeGone(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.Gone](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	if w.Agent != "node" && w.Agent != "net" {
		return nodelink.Inbound{}, fmt.Errorf("agent %q", w.Agent)
	}
	return nodelink.Inbound{Gone: &nodelink.Gone{Agent: w.Agent, Boot: w.Boot}}, nil
}

func decodeSubnet(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.SubnetRequest](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	if w.Method != "GET" {
		return nodelink.Inbound{}, fmt.Errorf("method %q", w.Method)
	}
	return nodelink.Inbound{Subnet: &nodelink.SubnetRequest{}}, nil
}

// deployed is mqtt.Deployed with a port that may be a number, too.
type deployed struct {
	mqtt.Deployed
	HostPort number `json:"host_port"`
}

func decodeDeployed(payload []byte) (nodelink.Inbound, error) {
	w, err := read[deployed](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	e, err := w.endpoint()
	if err != nil {
		return nodelink.Inbound{}, err
	}
	return nodelink.Inbound{Deployed: &e}, nil
}

func (w deployed) endpoint() (nodelink.Endpoint, error) {
	if w.Status != "" && w.Status != "DEPLOYED" {
		return nodelink.Endpoint{}, fmt.Errorf("status %q", w.Status)
	}
	e, err := endpoint(w.ServiceID, w.AppName, w.InstanceNumber, w.NamespaceIP, w.Grant, w.Try)
	if err != nil {
		return e, err
	}
	if !e.NamespaceIP.IsValid() {
		return e, fmt.Errorf("instance %d of %s has no address", e.Number, e.JobName)
	}
	// An original agent may advertise 0.0.0.0 or nothing: then the address of
	// the node is meant, which others know.
	if host, err := netip.ParseAddr(w.HostIP); err == nil && !host.IsUnspecified() {
		e.HostIP = host.Unmap()
	}
	e.Pending = w.Pending
	e.HostPort, err = w.HostPort.port()
	return e, err
}

func endpoint(service, job string, number int, nsip string, grant uint64, try uint32) (nodelink.Endpoint, error) {
	e := nodelink.Endpoint{
		Service: model.ServiceID(service), JobName: job, Number: number,
		Epoch: instance.Epoch{Grant: instance.Grant(grant), Try: try},
	}
	if err := checkSlot(service, job, number); err != nil {
		return e, err
	}
	if nsip == "" {
		return e, nil
	}
	a, err := netip.ParseAddr(nsip)
	if err != nil || a.IsUnspecified() || a.IsMulticast() {
		return e, fmt.Errorf("address %q", nsip)
	}
	e.NamespaceIP = a.Unmap()
	return e, nil
}

func checkSlot(service, job string, number int) error {
	if service == "" && job == "" {
		return fmt.Errorf("no service")
	}
	if number < 0 || number > maxNumber {
		return fmt.Errorf("instance number %d", number)
	}
	return nil
}

func decodeUndeployed(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.Undeployed](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	e, err := endpoint(w.ServiceID, w.AppName, w.InstanceNumber, w.NamespaceIP, w.Grant, w.Try)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	return nodelink.Inbound{Undeployed: &e}, nil
}

func decodeQuery(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.TableQuery](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	name, address := strings.TrimSpace(w.Name), strings.TrimSpace(w.Address)
	q := &nodelink.TableQuery{Name: name, Key: w.Name}
	if address != "" {
		q.Key = w.Address
		// Text that is no address is asked for like a name: nobody has it, and
		// original agents wait for ever for an answer that does not come.
		if a, err := netip.ParseAddr(address); err == nil {
			q.Name, q.Address = "", a.Unmap()
		} else {
			q.Name = address
		}
	}
	if q.Key == "" {
		return nodelink.Inbound{}, fmt.Errorf("asks for nothing")
	}
	return nodelink.Inbound{Query: q}, nil
}

func decodeUninterest(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.InterestRemove](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	if w.AppName == "" {
		return nodelink.Inbound{}, fmt.Errorf("no service")
	}
	return nodelink.Inbound{Uninterest: &nodelink.Uninterest{Name: w.AppName}}, nil
}

// netReport is mqtt.NetReport with ports as in deployed.
type netReport struct {
	mqtt.NetReport
	Endpoints []deployed `json:"endpoints"`
}

func decodeNetReport(payload []byte) (nodelink.Inbound, error) {
	w, err := read[netReport](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	r := &nodelink.NetReport{
		Boot: w.Boot, Seq: w.Seq, Snapshot: w.Snapshot, Applied: w.Applied,
		Dataplane: model.Dataplane(w.Dataplane), Interests: w.Interests,
	}
	if w.HostPort < 0 || w.HostPort > 65535 {
		return nodelink.Inbound{}, fmt.Errorf("host port %d", w.HostPort)
	}
	r.HostPort = uint16(w.HostPort)
	if w.HostIP != "" {
		if r.HostIP, err = netip.ParseAddr(w.HostIP); err != nil {
			return nodelink.Inbound{}, fmt.Errorf("host address %q", w.HostIP)
		}
		r.HostIP = r.HostIP.Unmap()
	}
	if w.Subnet != "" {
		if r.Subnet, err = netip.ParsePrefix(w.Subnet); err != nil {
			return nodelink.Inbound{}, fmt.Errorf("subnet %q", w.Subnet)
		}
		r.Subnet = r.Subnet.Masked()
	}
	for _, d := range w.Endpoints {
		e, err := d.endpoint()
		if err != nil {
			return nodelink.Inbound{}, err
		}
		r.Endpoints = append(r.Endpoints, e)
	}
	return nodelink.Inbound{Net: r}, nil
}

func decodeNetAck(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.NetAck](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	return nodelink.Inbound{Ack: &nodelink.NetAck{Boot: w.Boot, Version: w.Version, Error: w.Error}}, nil
}
