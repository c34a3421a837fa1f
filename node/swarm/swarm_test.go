package swarm

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"oakestra/api/mqtt"
	"oakestra/pkg/errs"
)

func one(t *testing.T, original bool) (*Swarm, *worker) {
	t.Helper()
	s := New(Config{Managers: []string{"127.0.0.1:1"}, Count: 1, Original: original, StartFor: time.Second, MilliCPU: 4000, MemoryMB: 1000})
	w := s.workers[0]
	w.on = true
	return s, w
}

func order(t *testing.T, w *worker, suffix string, body any) []string {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	jobs, _, err := w.command(suffix, text)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, j := range jobs {
		words = append(words, j.Status)
	}
	return words
}

func states(w *worker) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, c := range w.sorted() {
		out = append(out, c.state)
	}
	return out
}

// TestOurContainer: epochs tell attempts apart, the same order twice is one
// order, a delete means its attempt and older ones.
func TestOurContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := one(t, false)
		first := mqtt.Deploy{ID: "a", JobName: "x.y.z.w", Grant: 1, Try: 1, Virtualization: "docker"}
		second := first
		second.Try = 2
		if got := order(t, w, mqtt.DownDeploy, first); !cmp.Equal(got, []string{"CREATING"}) {
			t.Errorf("deploy tells %v", got)
		}
		if got := order(t, w, mqtt.DownDeploy, first); len(got) != 0 {
			t.Errorf("the same again tells %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		order(t, w, mqtt.DownDeploy, second)
		if got := states(w); !cmp.Equal(got, []string{"RUNNING", "CREATING"}) {
			t.Errorf("states %v", got)
		}
		if got := order(t, w, mqtt.DownDelete, mqtt.Delete{ServiceID: "a", JobName: "x.y.z.w", Grant: 1, Try: 1}); !cmp.Equal(got, []string{"UNDEPLOYED"}) {
			t.Errorf("delete tells %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if v := s.Status(true); v.Containers != 1 || v.Running[Slot("a", 0)] != 1 || v.Deploys != 3 || v.Deletes != 1 {
			t.Errorf("status %+v", v)
		}
		w.mu.Lock()
		list := w.reports(time.UnixMilli(1234))
		w.mu.Unlock()
		info, ok := list[0].body.(mqtt.Information)
		if !ok || len(list) != 1 || !info.Combined || len(info.Services) != 1 || info.Services[0].Try != 2 || info.Services[0].Disk != "1234" {
			t.Errorf("report %+v", list)
		}
	})
}

// TestOriginalContainer: two messages, no epochs, and the words of v0.4.2.
func TestOriginalContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := one(t, true)
		d := mqtt.Deploy{ID: "a", JobName: "x.y.z.w", Grant: 1, Try: 1, Virtualization: "docker"}
		if got := order(t, w, mqtt.DownDeploy, d); len(got) != 0 {
			t.Errorf("deploy tells %v", got)
		}
		d.Try = 2
		if got := order(t, w, mqtt.DownDeploy, d); !cmp.Equal(got, []string{"FAILED"}) {
			t.Errorf("a duplicate tells %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		w.mu.Lock()
		list := w.reports(time.UnixMilli(1234))
		w.mu.Unlock()
		if len(list) != 2 || list[0].suffix != mqtt.UpInformation || list[1].suffix != mqtt.UpResources {
			t.Fatalf("reports %+v", list)
		}
		res := list[1].body.(mqtt.Resources)
		if len(res.Services) != 1 || res.Services[0].Grant != 0 || res.Services[0].State != "" || res.Services[0].ServiceID != "" {
			t.Errorf("resources %+v", res)
		}
		if got := order(t, w, mqtt.DownDelete, mqtt.Delete{JobName: "x.y.z.w", ServiceID: "a", Grant: 9}); !cmp.Equal(got, []string{"DEAD"}) {
			t.Errorf("delete tells %v", got)
		}
		if r := w.registration(); r.NodeKey != "" || r.Boot != "" || r.MilliCPU != 0 {
			t.Errorf("an original registers with what it does not know: %+v", r)
		}
	})
}

// TestPower: a machine that is off holds nothing, one that is cut off goes on.
func TestPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Managers: []string{"127.0.0.1:1"}, Count: 100, StartFor: time.Second})
		s.Start()
		for _, w := range s.workers {
			order(t, w, mqtt.DownDeploy, mqtt.Deploy{ID: "a", JobName: "x", Grant: 1, Try: 1})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.Kill(Every(10, 1)); n != 10 {
			t.Errorf("%d killed of 100", n)
		}
		if n := s.Cut(Every(20, 2)); n < 15 || n > 20 {
			t.Errorf("%d cut", n)
		}
		v := s.Status(false)
		if v.On != 90 || v.Containers != 90-v.Cut {
			t.Errorf("status %+v", v)
		}
		s.Heal()
		s.Start()
		if v := s.Status(false); v.On != 100 || v.Cut != 0 || v.Containers != 90 {
			t.Errorf("status %+v", v)
		}
	})
}

func TestEveryPicksEvenly(t *testing.T) {
	for _, percent := range []float64{0.5, 10, 33.3, 100} {
		for round := range 4 {
			n := 0
			for i := range 1000 {
				if Every(percent, round)(i) {
					n++
				}
			}
			if want := int(10 * percent); n < want-1 || n > want+1 {
				t.Errorf("%g %% in round %d: %d of 1000", percent, round, n)
			}
		}
	}
}

func TestAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 70_000 {
		seen[address(i).String()] = true
	}
	if len(seen) != 70_000 || !seen["127.100.1.1"] {
		t.Errorf("%d addresses for 70000 workers", len(seen))
	}
}

func TestConfigNamesFieldAndValue(t *testing.T) {
	err := Config{Managers: []string{"here"}, Count: 0}.Validate()
	if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "managers[0]: want host:port (got here)") || !strings.Contains(err.Error(), "count") {
		t.Errorf("error %v", err)
	}
}

// TestServe: one line back for each, and what is no command is named.
func TestServe(t *testing.T) {
	s := New(Config{Managers: []string{"127.0.0.1:1"}, Count: 10})
	var out strings.Builder
	in := `{"do":"start"}` + "\n" + `{"do":"kill","percent":50}` + "\n" + `{"do":"dance"}` + "\n" + `{"do":"status"}` + "\n"
	if err := s.Serve(t.Context(), strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[1], `"count":5`) || !strings.Contains(lines[2], `got \"dance\"`) || !strings.Contains(lines[3], `"on":5`) {
		t.Errorf("answers %q", lines)
	}
	if err := s.Serve(t.Context(), strings.NewReader("x\n"), &out); !errors.Is(err, errs.Invalid) {
		t.Errorf("error %v", err)
	}
}
