package agents

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Generation is what differs between releases.
type Generation struct {
	Name       string // directory of its samples in api/mqtt/testdata
	started    string // its word for a container that runs
	already    string // its words for a second deploy
	background bool   // deletes are carried out beside other commands
	unknown    bool   // the delete of something unknown is answered
	oneShot    bool   // it knows COMPLETED
	late       bool   // IPv6 is needed, cpu_percent or logs are sent
	percent    bool   // usage in per cent, from v0.4.410 on
	lists      int    // one per runtime
	same       bool   // all lists name the same tasks; else only the first names any
}

// Generations are those that differ on the wire, the oldest first.
func Generations() []Generation {
	return []Generation{
		{Name: "v0.4.2", started: "ACTIVE", already: "Service already deployed", unknown: true, lists: 1},
		{Name: "v0.4.402", started: "CREATED", already: "Service already deployed", unknown: true, oneShot: true, late: true, lists: 2},
		{Name: "v0.4.410", started: "CREATED", already: "task already deployed", background: true, oneShot: true, late: true, percent: true, lists: 2, same: true},
	}
}

// killWait is how long a delete waits for a hand-shake that never comes.
const killWait = 5 * time.Second

// sample reads a message of the generation.
func (g Generation) sample(name string) (map[string]json.RawMessage, error) {
	_, here, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "..", "..", "api", "mqtt", "testdata", g.Name, name))
	if err != nil {
		return nil, err
	}
	var out map[string]json.RawMessage
	return out, json.Unmarshal(text, &out)
}

// registration is the body of a registration of a machine.
func (g Generation) registration(host, machine string) ([]byte, error) {
	body, err := g.sample("register.request.json")
	if err != nil {
		return nil, err
	}
	var system map[string]string
	if err := json.Unmarshal(body["system_info"], &system); err != nil {
		return nil, err
	}
	system["full_stats"] = fmt.Sprintf(`{"hostId":%q}`, machine)
	if body["system_info"], err = json.Marshal(system); err != nil {
		return nil, err
	}
	if body["host"], err = json.Marshal(host); err != nil {
		return nil, err
	}
	return json.Marshal(body)
}

// usage is one task in a list.
func (g Generation) usage(t task) map[string]any {
	out := map[string]any{"job_name": t.Name, "virtualization": t.Runtime, "instance": t.Number, "disk": "24576"}
	if g.late {
		out["logs"] = "hello\n"
	}
	if g.percent {
		out["cpu_percent"], out["memory_percent"] = "0.5", "0.25"
	} else {
		out["cpu"], out["memory"] = "0.497512", "1912832.000000"
	}
	return out
}
