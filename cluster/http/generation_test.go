package http

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oakestra/cluster/fleet"
	"oakestra/pkg/core/model"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", path, got, want)
	}
}

// desk notes registrations and hands out host names.
type desk struct{ got []fleet.Registration }

func (d *desk) Register(_ context.Context, r fleet.Registration) (model.NodeID, error) {
	d.got = append(d.got, r)
	return model.NodeID(r.Host), nil
}
func (*desk) Status(context.Context) (fleet.Status, error) { return fleet.Status{}, nil }
func (*desk) Connected() bool                              { return true }
func (*desk) ClusterID() string                            { return "c1" }

// Every generation's registration becomes the same kind of value, and gets an
// answer that its engine takes: exactly 200, and both values strings.
func TestRegistrationOfEachGeneration(t *testing.T) {
	for _, g := range []string{"v0.4.2", "v0.4.402", "v0.4.410"} {
		t.Run(g, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("..", "..", "api", "mqtt", "testdata", g, "register.request.json"))
			if err != nil {
				t.Fatal(err)
			}
			d := &desk{}
			r := httptest.NewRequest(http.MethodPost, "/api/node/register", strings.NewReader(string(body)))
			r.RemoteAddr = "192.0.2.2:40000"
			w := httptest.NewRecorder()
			Handler(Config{Name: "c", MQTTPort: "10003"}, d, d, http.NotFoundHandler()).ServeHTTP(w, r)
			if w.Code != http.StatusOK || len(d.got) != 1 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			var answer struct {
				ID   string `json:"id"`
				Port string `json:"MQTT_BROKER_PORT"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.ID != "vm" || answer.Port != "10003" {
				t.Errorf("%+v, %v", answer, err)
			}
			typed, err := json.MarshalIndent(d.got[0], "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", g, "register.golden"), string(typed)+"\n")
			golden(t, filepath.Join("testdata", g, "answer.golden"), w.Body.String())
		})
	}
}
