package rootlink

import (
	"testing"

	linkv1 "oakestra/api/link/v1"
	"oakestra/cluster/fleet"
)

// Every order that the protocol knows is carried out, each by a verb of its own.
func TestEveryVerbIsKnown(t *testing.T) {
	seen := map[fleet.Verb]string{}
	for n, name := range linkv1.NodeVerb_name {
		verb := linkv1.NodeVerb(n)
		if verb == linkv1.NodeVerb_NODE_VERB_UNSPECIFIED || verb == linkv1.NodeVerb_NODE_VERB_END_ORPHAN { // see TestAnOrphanTravelsUpAndDown
			continue
		}
		v, known := verbs[verb]
		if !known || seen[v] != "" {
			t.Errorf("%s is %d, like %q", name, v, seen[v])
		}
		seen[v] = name
	}
}
