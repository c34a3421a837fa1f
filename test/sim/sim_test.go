package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// result is what oak sim says of a step, as far as it is looked at here.
type result struct {
	Step       string  `json:"step"`
	ConvergedS float64 `json:"converged_s"`
	Lost       int     `json:"lost_instances"`
	Extra      int     `json:"extra_instances"`
	MostExtra  int     `json:"most_extra_instances"`
	LostNodes  int     `json:"lost_workers"`
	RSS        float64 `json:"manager_rss_mib"`
	RootRSS    float64 `json:"root_rss_mib"`
	Messages   float64 `json:"messages_per_second"`
	Placements float64 `json:"placements_per_second"`
	AgeP50     float64 `json:"state_age_p50_ms"`
	AgeP99     float64 `json:"state_age_p99_ms"`
}

// bin is where the programs are: built once, or of OAK_BIN.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if bin = os.Getenv("OAK_BIN"); bin != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "oak-sim-bin-")
		if err == nil {
			defer os.RemoveAll(dir)
			bin, err = dir, build(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func build(dir string) error {
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/system-manager", "./cmd/cluster-manager", "./cmd/oak")
	if path := os.Getenv("GO"); path != "" {
		cmd.Path, cmd.Err = path, nil
	}
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

func simulate(t *testing.T, scenario string, args ...string) (string, []byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "scenario.json")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "oak"), append([]string{"sim", "--json", "-f", file}, args...)...)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	err := cmd.Run()
	return progress.String(), out.Bytes(), err
}

func steps(t *testing.T, progress string, out []byte, err error) map[string]result {
	t.Helper()
	if err != nil {
		t.Fatalf("oak sim: %v\n%s", err, progress)
	}
	var report struct {
		Results []result `json:"results"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	by := map[string]result{}
	for _, r := range report.Results {
		by[r.Step] = r
		if r.Lost+r.Extra != 0 || r.RSS < 5 || r.RootRSS < 5 {
			t.Errorf("%+v", r)
		}
	}
	return by
}

// TestASiteOfOurWorkers: two clusters of ten workers each, through everything
// that a scenario can do but a partition and a cut, with nothing lost and nothing twice.
func TestASiteOfOurWorkers(t *testing.T) {
	t.Parallel()
	progress, out, err := simulate(t, `{"workers":20,"clusters":2,"timeout_s":60,"steps":[
		{"do":"start"},{"do":"deploy","instances":40,"services":4},{"do":"measure","seconds":4},
		{"do":"kill","percent":20},{"do":"revive"},{"do":"restart","what":"cluster-manager"},
		{"do":"restart","what":"system-manager"},{"do":"storm"},{"do":"undeploy"}]}`)
	by := steps(t, progress, out, err)
	if len(by) != 9 {
		t.Fatalf("%d steps: %s", len(by), out)
	}
	if r := by["deploy 40 in 4 services"]; r.Placements <= 0 {
		t.Errorf("nothing was placed: %+v", r)
	}
	if r := by["measure 4 s"]; r.Messages < 2 || r.Messages > 15 || r.AgeP50 <= 0 || r.AgeP99 < r.AgeP50 {
		t.Errorf("20 workers send 10 messages a second, and their state has an age: %+v", r)
	}
	// Silence is noticed after 10 s, not before; a restart and a storm lose nobody.
	if r := by["kill 20 %"]; r.LostNodes != 4 || r.ConvergedS < 7 {
		t.Errorf("4 of 20 were killed: %+v", r)
	}
	if r := by["storm"]; r.LostNodes != 0 {
		t.Errorf("a storm lost workers: %+v", r)
	}
	for _, line := range []string{"start", "kill -9, start cluster-manager", "waiting: "} {
		if !strings.Contains(progress, line) {
			t.Errorf("progress does not say %q:\n%s", line, progress)
		}
	}
}

// TestAClusterThatIsCutOff: its root gives it up after 15 s of silence, its
// workers go on, and when it is back all is as it was: for "replace" a cluster
// must be away for another minute.
func TestAClusterThatIsCutOff(t *testing.T) {
	t.Parallel()
	progress, out, err := simulate(t, `{"workers":20,"clusters":2,"timeout_s":60,"on_cluster_loss":"replace","steps":[
		{"do":"start"},{"do":"deploy","instances":40,"services":4},{"do":"cut","what":"root-link","seconds":19},{"do":"undeploy"}]}`)
	by := steps(t, progress, out, err)
	r, ok := by["cut the root link of 1 for 19 s"]
	if !ok || r.MostExtra != 0 || r.LostNodes != 0 {
		t.Errorf("cut: %+v", r)
	}
	if !strings.Contains(progress, "1 of 2 cluster-managers are linked to the root") {
		t.Errorf("the cut was not felt:\n%s", progress)
	}
}

// TestASiteOfOriginalWorkers send two messages each period and know no epochs.
func TestASiteOfOriginalWorkers(t *testing.T) {
	t.Parallel()
	progress, out, err := simulate(t, `{"workers":10,"agent":"original","timeout_s":60,"steps":[
		{"do":"start"},{"do":"deploy","instances":10,"services":2},{"do":"measure","seconds":4}]}`)
	by := steps(t, progress, out, err)
	if r := by["measure 4 s"]; r.Messages < 2 || r.Messages > 15 {
		t.Errorf("10 original workers send 10 messages a second: %+v", r)
	}
}

// TestMistakesAreNamed: field, value and what would do, all at once, before
// anything starts.
func TestMistakesAreNamed(t *testing.T) {
	progress, out, err := simulate(t, `{"workers":0,"agent":"mine","steps":[{"do":"deploy","instances":1},{"do":"kill","percent":120}]}`)
	if err == nil {
		t.Fatalf("accepted: %s", out)
	}
	for _, want := range []string{
		"workers: want 1 to 200000 (got 0)", `agent: want one of ["ours" "original"] (got "mine")`, `steps[0].do: want start`,
		"steps[0].services: want 1 to 1 (got 0)", "steps[1].percent: want more than 0, to 100 (got 120)",
	} {
		if !strings.Contains(progress, want) {
			t.Errorf("does not say %q:\n%s", want, progress)
		}
	}
}
