package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

var daemons = []string{"root", "cluster", "node", "netmanager"}

// drivers are libraries that drag a system along; only these folders and test
// know them. A daemon's package that imports one is an effect.
var drivers = map[string][]string{
	"go.mongodb.org/":                       {"root/store/mongostore"},
	"go.etcd.io/bbolt":                      {"root/store/boltstore", "cluster/store"},
	"github.com/containerd/":                {"node/runtime/containerd"},
	"github.com/mochi-mqtt/":                {"cluster/nodelink/broker"},
	"github.com/eclipse/paho":               {"cluster/nodelink/mqttlink", "node/clusterlink", "netmanager/clusterlink", "pkg/mqttx"},
	"github.com/vishvananda/netlink":        {"netmanager/host/linux", "pkg/testkit/nshost"},
	"github.com/vishvananda/netns":          {"netmanager/host/linux", "pkg/testkit/nshost"},
	"github.com/google/nftables":            {"netmanager/host/linux"},
	"github.com/spf13/cobra":                {"cmd"},
	"github.com/google/go-containerregistr": {},
}

// driven says which driver an import belongs to.
func driven(imported string) (driver string, ok bool) {
	for d := range drivers {
		if strings.HasPrefix(imported, d) {
			return d, true
		}
	}
	return "", false
}

// effects are the daemons' packages that touch something outside the process:
// their daemon reaches them through an interface, cmd joins the two.
func effects(all []source) map[string]bool {
	found := map[string]bool{}
	for _, p := range all {
		if !slices.Contains(daemons, daemon(p.path())) {
			continue
		}
		if slices.ContainsFunc(p.Imports, func(i string) bool { _, ok := driven(i); return ok }) {
			found[p.path()] = true
		}
	}
	return found
}

// floor is the height of a package; what a package imports is no higher.
func floor(path string) (int, bool) {
	for _, f := range []struct {
		folder string
		height int
	}{
		{"api", 0}, {"pkg/core", 2}, {"pkg", 1},
		{"root", 3}, {"cluster", 3}, {"node", 3}, {"netmanager", 3},
		{"cmd", 4}, {"test", 5},
	} {
		if within(path, f.folder) {
			return f.height, true
		}
	}
	return 0, false
}

// forbidden says why a package must not import another one of this module, ""
// when it may.
func forbidden(effect map[string]bool, from, to string) string {
	a, known := floor(from)
	b, knownToo := floor(to)
	switch {
	case !known || !knownToo:
		return "stands on no floor: the top folders are api pkg root cluster node netmanager cmd test"
	case b > a:
		return fmt.Sprintf("floor %d imports floor %d", a, b)
	case a == 1 && b == 0:
		return "a tool knows no wire contract"
	case a == 2 && b != 2 && to != "pkg/errs":
		return "the domain imports itself, pkg/errs and the standard library"
	case a == 3 && b == 3 && daemon(from) != daemon(to):
		return "daemons never import one another"
	case effect[to] && joins(from, to):
		return ""
	case effect[to] && a < 4 && !(effect[from] && (within(from, to) || within(to, from))):
		return "an effect: only cmd and tests import it"
	}
	return ""
}

// joins says whether a daemon's top package takes its own link to the level
// above: a client only, that builds fast and needs no service. Stores, brokers,
// containerd and netlink come from cmd.
func joins(from, to string) bool {
	return from == daemon(from) && (to == from+"/clusterlink" || to == from+"/rootlink")
}

func daemon(path string) string {
	name, _, _ := strings.Cut(path, "/")
	return name
}

func TestEveryPackageStandsOnAFloorAndImportsNoHigherOne(t *testing.T) {
	all := packages(t)
	effect := effects(all)
	if !effect["root/store/boltstore"] {
		t.Error("the bbolt store is not recognised as an effect")
	}
	for _, p := range all {
		if _, known := floor(p.path()); !known {
			t.Errorf("%s stands on no floor", p.ImportPath)
		}
		for _, i := range p.Imports {
			if to, ok := ours(i); ok {
				if why := forbidden(effect, p.path(), to); why != "" {
					t.Errorf("%s imports %s: %s", p.path(), to, why)
				}
			}
		}
	}
}

// Tests may climb to test/ and to effects of their own daemon, not to another
// daemon.
func TestTestsOfADaemonImportNoOtherDaemon(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(daemons, daemon(p.path())) {
			continue
		}
		for _, i := range append(slices.Clone(p.TestImports), p.XTestImports...) {
			if to, ok := ours(i); ok && slices.Contains(daemons, daemon(to)) && daemon(to) != daemon(p.path()) {
				t.Errorf("tests of %s import %s", p.path(), to)
			}
		}
	}
}

func TestTheDomainIsPure(t *testing.T) {
	for _, p := range packages(t) {
		if !within(p.path(), "pkg/core") {
			continue
		}
		for _, i := range p.Imports {
			_, own := ours(i)
			switch first, _, _ := strings.Cut(i, "/"); {
			case !own && strings.Contains(first, "."):
				t.Errorf("%s imports %s, which is not of the standard library", p.path(), i)
			case slices.Contains([]string{"os", "net", "net/http", "os/exec", "log", "log/slog", "context", "math/rand", "math/rand/v2", "crypto/rand", "syscall"}, i):
				t.Errorf("%s imports %s: a decision has no I/O, logger, context or chance in it", p.path(), i)
			}
		}
	}
}

func TestDriversStayInTheirFolders(t *testing.T) {
	for _, p := range packages(t) {
		if within(p.path(), "test") {
			continue
		}
		for _, i := range p.Imports {
			if driver, ok := driven(i); ok {
				folders := drivers[driver]
				if !slices.ContainsFunc(folders, func(f string) bool { return within(p.path(), f) }) {
					t.Errorf("%s imports %s, which only %s may", p.path(), i, strings.Join(append(slices.Clone(folders), "test"), ", "))
				}
			}
		}
	}
}

// The rule itself is checked, since a tree that keeps it proves nothing.
func TestTheRuleForbidsWhatItShould(t *testing.T) {
	effect := map[string]bool{
		"node/runtime/containerd": true, "root/store/boltstore": true, "root/store/mongostore": true,
		"cluster/nodelink/mqttlink": true, "cluster/nodelink/broker": true, "node/clusterlink": true,
	}
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"pkg/errs", "pkg/core/model", false},
		{"pkg/httpx", "api/rest", false},
		{"pkg/httpx", "pkg/errs", true},
		{"pkg/core/sla", "pkg/core/ports", true},
		{"pkg/core/sla", "pkg/errs", true},
		{"pkg/core/sla", "pkg/logging", false},
		{"pkg/core/sla", "api/mqtt", false},
		{"api/rest", "pkg/core/model", false},
		{"root/rest", "root/control", true},
		{"root/rest", "cluster/fleet", false},
		{"node/runner", "netmanager/rules", false},
		{"node", "node/runtime/containerd", false},
		{"node", "node/clusterlink", true},
		{"node/runner", "node/clusterlink", false},
		{"node/runtime/containerd", "node/clusterlink", false},
		{"root/store/boltstore", "root/store/mongostore", false},
		{"cluster/nodelink/broker", "cluster/nodelink/mqttlink", false},
		{"root/control", "cmd/oak", false},
		{"root/control", "test/site", false},
		{"cmd/system-manager", "root/store/boltstore", true},
		{"test/site", "node/runtime/containerd", true},
		{"manager", "pkg/errs", false},
	} {
		if why := forbidden(effect, c.from, c.to); (why == "") != c.allowed {
			t.Errorf("%s imports %s: allowed = %v (%s)", c.from, c.to, why == "", why)
		}
	}
}
