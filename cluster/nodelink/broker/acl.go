package broker

import (
	"slices"
	"strings"

	"oakestra/api/mqtt"
)

// upTopics are the suffixes an agent may publish on, below nodes/<its id>/.
var upTopics = []string{
	mqtt.UpInformation, mqtt.UpJob, mqtt.UpResources, mqtt.UpGone,
	mqtt.UpSubnet, mqtt.UpDeployed, mqtt.UpUndeployed, mqtt.UpTableQuery,
	mqtt.UpInterestRemove, mqtt.UpNetReport, mqtt.UpNetAck, mqtt.UpAddressChanged,
}

// agentSuffixes of client ids: <node>-ne, <node>-net, and the bare node id of
// original NetManagers.
var agentSuffixes = []string{"-ne", "-net"}

// nodeOf lists the node ids that a client id may stand for: "a-net" is node
// a's NetManager, or the original NetManager of a node called "a-net".
func nodeOf(clientID string) []string {
	nodes := []string{clientID}
	for _, s := range agentSuffixes {
		if n, ok := strings.CutSuffix(clientID, s); ok && n != "" {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// validClientID says whether the id can be a part of a topic.
func validClientID(id string) bool {
	return id != "" && len(id) <= 256 && !strings.ContainsAny(id, "/+#$\x00")
}

// mayPublish: an agent writes what its own node has to say.
func mayPublish(clientID, topic string) bool {
	node, suffix, ok := mqtt.SplitNodeTopic(topic)
	return ok && slices.Contains(nodeOf(clientID), node) && slices.Contains(upTopics, suffix)
}

// mayRead: an agent reads its own node's topics and the bells of any service.
// topic may be a filter.
func mayRead(clientID, topic string) bool {
	if node, _, ok := mqtt.SplitNodeTopic(topic); ok {
		return slices.Contains(nodeOf(clientID), node)
	}
	rest, ok := strings.CutPrefix(topic, "jobs/")
	if !ok {
		return false
	}
	name, bell, ok := strings.Cut(rest, "/")
	return ok && name != "#" && mqtt.UpdatesTopic(name) == "jobs/"+name+"/"+bell
}
