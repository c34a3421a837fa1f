package mqtt

import "strings"

// Topic suffixes below nodes/<id>/. Up = sent by the worker's agents.
const (
	UpInformation = "information"     // Information, every 2 s
	UpJob         = "job"             // Job, on every state change
	UpResources   = "jobs/resources"  // Resources, every 2 s when no combined report was agreed
	UpGone        = "gone"            // Gone, the last will of our agents: starts probing, proves nothing
	DownDeploy    = "control/deploy"  // Deploy
	DownDelete    = "control/delete"  // Delete
	DownProbe     = "control/probe"   // ours: answer with a report at once
	DownSession   = "control/session" // ours: Session; dial 10100 /session/<id>

	UpSubnet            = "net/subnet"             // SubnetRequest
	DownSubnet          = "net/subnetwork/result"  // SubnetResult
	UpDeployed          = "net/service/deployed"   // Deployed
	UpUndeployed        = "net/service/undeployed" // Undeployed; only ours sends it
	UpTableQuery        = "net/tablequery/request" // TableQuery
	DownTableResult     = "net/tablequery/result"  // TableResult
	UpInterestRemove    = "net/interest/remove"    // InterestRemove
	UpNetReport         = "net/report"             // ours: NetReport, on connect and every 2 s
	UpNetAck            = "net/ack"                // ours: NetAck
	DownNetState        = "net/state"              // ours: NetState
	UpAddressChanged    = "net/service/address-changed"
	updatesAvailableFmt = "updates_available"
)

// NodeTopic is nodes/<id>/<suffix>.
func NodeTopic(node, suffix string) string { return "nodes/" + node + "/" + suffix }

// SplitNodeTopic reverses NodeTopic.
func SplitNodeTopic(topic string) (node, suffix string, ok bool) {
	rest, found := strings.CutPrefix(topic, "nodes/")
	if !found {
		return "", "", false
	}
	node, suffix, ok = strings.Cut(rest, "/")
	return node, suffix, ok && node != "" && suffix != ""
}

// UpdatesTopic is where original NetManagers learn that a service's table
// changed: jobs/<job name or address>/updates_available.
func UpdatesTopic(name string) string { return "jobs/" + name + "/" + updatesAvailableFmt }

// NodeClientID and NetClientID are the MQTT client ids of the two agents.
func NodeClientID(node string) string { return node + "-ne" }

// NetClientID is the MQTT client id of NetManager on a node.
func NetClientID(node string) string { return node + "-net" }
