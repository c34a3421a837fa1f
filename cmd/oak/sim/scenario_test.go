package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oakestra/pkg/errs"
)

// TestDefaultIsAScenario: what --print writes can be read again.
func TestDefaultIsAScenario(t *testing.T) {
	text, err := json.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesNameFieldAndValue(t *testing.T) {
	for text, want := range map[string]string{
		"{\n":                               "line 2: ends in the middle",
		"":                                  "line 1: is empty",
		"{}\n\nmore":                        "line 3: something follows the scenario",
		"[]":                                "scenario: want an object (got [])",
		"null":                              "scenario: want an object (got null)",
		"{\"workers\":1,\n\"agents\":1}":    "agents: unknown field, want one of agent, broker",
		"{\n\"workers\":\"many\"}":          `workers: want a whole number (got "many")`,
		`{"workers":1.5}`:                   "workers: want a whole number (got 1.5)",
		`{"agent":7}`:                       "agent: want a text in quotes (got 7)",
		`{"steps":{"do":"start"}}`:          `steps: want a list (got {"do":"start"})`,
		`{"steps":[{"do":"start"},"kill"]}`: `steps[1]: want an object (got "kill")`,
		`{"steps":[{"do":"start"},{"do":"kill","percents":5}]}`:                                                             "steps[1].percents: unknown field, want one of clusters, do, instances",
		`{"steps":[{"do":"start"},{"do":"kill","percent":"five"}]}`:                                                         `steps[1].percent: want a number (got "five")`,
		"{\n\n\"workers\":1,,}":                                                                                             "line 3: invalid character",
		`{"steps":[]}`:                                                                                                      "steps: want at least one",
		`{"steps":[{"do":"start"},{"do":"start"}]}`:                                                                         `steps[1].do: starts once`,
		`{"steps":[{"do":"start"},{"do":"dance"}]}`:                                                                         `(got "dance")`,
		`{"steps":[{"do":"start","percent":5}]}`:                                                                            "steps[0].percent: means nothing for this step",
		`{"steps":[{"do":"start"},{"do":"measure"}]}`:                                                                       "steps[1].seconds: want 1 to 3600 (got 0)",
		`{"steps":[{"do":"start"},{"do":"cut","seconds":5}]}`:                                                               `steps[1].what: want one of ["root-link"] (got "")`,
		`{"steps":[{"do":"start"},{"do":"cut","what":"root-link"}]}`:                                                        "steps[1].seconds: want 1 to 3600 (got 0)",
		`{"clusters":2,"steps":[{"do":"start"},{"do":"cut","what":"root-link","seconds":5,"clusters":3}]}`:                  "steps[1].clusters: want 1 to 2 (got 3)",
		`{"steps":[{"do":"start"},{"do":"storm","clusters":1}]}`:                                                            "steps[1].clusters: means nothing for this step",
		`{"on_cluster_loss":"move","steps":[{"do":"start"}]}`:                                                               `on_cluster_loss: want one of ["keep" "replace"] (got "move")`,
		`{"steps":[{"do":"start"},{"do":"restart","what":"broker"}]}`:                                                       "steps[1].what: the embedded broker is part",
		`{"steps":[{"do":"start"},{"do":"restart","what":"it"}]}`:                                                           `(got "it")`,
		`{"steps":[{"do":"start"},{"do":"deploy","instances":4,"services":5}]}`:                                             "steps[1].services: want 1 to 4 (got 5)",
		`{"steps":[{"do":"start"},{"do":"deploy","instances":4,"services":2},{"do":"kill","percent":40}]}`:                  "steps[2].percent: want at most 30",
		`{"clusters":0,"broker":"rabbit","start_ms":-1,"milli_cpu":0,"memory_mb":0,"timeout_s":0,"steps":[{"do":"storm"}]}`: `broker: want one of ["embedded" "mosquitto"] (got "rabbit")`,
	} {
		_, err := Read(strings.NewReader(text))
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestEnough: what cannot fit is refused before the start.
func TestEnough(t *testing.T) {
	s := Default()
	s.Workers = 40_000
	if err := enough(s, 20_000); err == nil || !strings.Contains(err.Error(), "got 40000") {
		t.Errorf("error %v", err)
	}
	s.Clusters = 3
	if err := enough(s, 20_000); err != nil {
		t.Error(err)
	}
	if n := perProcess(1024); n != 24 {
		t.Errorf("%d workers in a process of 1024 files", n)
	}
}

func TestQuantile(t *testing.T) {
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
	list := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	if p50, p99 := quantile(list, 0.5), quantile(list, 0.99); p50 != 6 || p99 != 10 {
		t.Errorf("%g and %g", p50, p99)
	}
}
