package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wallClock is what turns a time into a number or drops its monotonic part: a
// difference of two of them is wrong by as much as somebody sets the clock.
var wallClock = regexp.MustCompile(`\.(UnixNano|UnixMicro|UnixMilli|Unix)\(\)|\btime\.(Unix|UnixMilli|UnixMicro)\(|\.Round\(0\)`)

// wallClockFor names the files that may, and for what: never for how long ago
// something was.
var wallClockFor = map[string]string{
	"root/rest/convert.go":           "answers in unix seconds",
	"root/clusters/convert.go":       "last seen, for people",
	"root/auth/token.go":             "claims of a token",
	"root/auth/clock.go":             "compares the wall clock with the monotonic one",
	"root/control/ids.go":            "ids that sort by time",
	"root/assign/recovery.go":        "a number for a new life of the store; it is raised above every earlier one",
	"cluster/fleet/core.go":          "where the numbers of aggregates begin; each start tells them anew",
	"cluster/fleet/recover.go":       "a try above those of an earlier life of the book",
	"node/swarm/convert.go":          "a number that the API shows again, to measure its age",
	"node/swarm/swarm.go":            "when something was, told to another process",
	"cluster/tables/plane.go":        "a name for a start of the plane",
	"cluster/rootlink/outbox.go":     "when a note was made, for people",
	"cluster/rootlink/convert.go":    "last seen, for people",
	"netmanager/host/linux/hold.go":  "which second it is, to count questions in",
	"netmanager/host/linux/queue.go": "a deadline in the past",
}

// TestTimeIsMonotonicInside: P4. A wall clock that jumps fails no worker and
// ends no link, since nothing measures silence with it.
func TestTimeIsMonotonicInside(t *testing.T) {
	root := repository(t)
	used := map[string]bool{}
	for _, d := range daemons {
		err := filepath.WalkDir(filepath.Join(root, d), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(string(text), "\n") {
				if !wallClock.MatchString(line) {
					continue
				}
				if used[rel] = true; wallClockFor[rel] == "" {
					t.Errorf("%s:%d: a time without its monotonic part: %s", rel, i+1, strings.TrimSpace(line))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for f := range wallClockFor {
		if !used[f] {
			t.Errorf("%s is excused and needs no excuse", f)
		}
	}
}
