package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"oakestra/pkg/errs"
)

// manager is one cluster: its manager and, when outside, its broker.
type manager struct {
	address string // HTTP
	program *program
	broker  *program // nil when embedded
	relay   *relay   // to the root; nil when nothing is cut
}

// site is the real part: a root and its clusters, as processes.
type site struct {
	dir      string
	address  string // of the root
	root     *program
	managers []*manager
}

// freePorts finds n ports that nobody listens on. They are free again when it
// returns, so somebody else may take them meanwhile; then the daemon says so.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w: %w", err, errs.Unavailable)
		}
		defer ln.Close()
		out = append(out, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
	}
	return out, nil
}

func newSite(s Scenario, o Options, dir string) (*site, error) {
	ports, err := freePorts(1 + 3*s.Clusters)
	if err != nil {
		return nil, err
	}
	root, err := find(o, whatRoot)
	if err != nil {
		return nil, err
	}
	each, err := find(o, whatManager)
	if err != nil {
		return nil, err
	}
	v := &site{dir: dir, address: "127.0.0.1:" + ports[0]}
	v.root = &program{name: whatRoot, path: root, log: filepath.Join(dir, "system-manager.log"),
		args: []string{"-listen", v.address, "-data", filepath.Join(dir, "root")}}
	for i := range s.Clusters {
		http, mqtt, above := ports[1+3*i], ports[2+3*i], v.address
		name := fmt.Sprintf("sim-%d", i+1)
		m := &manager{address: "127.0.0.1:" + http}
		if s.cuts() {
			above = "127.0.0.1:" + ports[3+3*i]
			m.relay = newRelay(above, v.address)
		}
		m.program = &program{name: whatManager, path: each, log: filepath.Join(dir, name+".log"),
			args: []string{"-root", above, "-name", name, "-location", "48.1,11.5,1000", "-listen", m.address,
				"-mqtt-listen", "127.0.0.1:" + mqtt, "-data", filepath.Join(dir, name)}}
		if s.Broker == "mosquitto" {
			m.program.env = []string{"MQTT_BROKER_URL=127.0.0.1", "MQTT_BROKER_PORT=" + mqtt}
			if m.broker, err = mosquitto(dir, name, mqtt); err != nil {
				return nil, err
			}
		}
		v.managers = append(v.managers, m)
	}
	return v, nil
}

// find is a program in the directory of --bin; without that, beside oak or in
// PATH.
func find(o Options, name string) (string, error) {
	if o.Bin == "" {
		for _, at := range []string{filepath.Join(filepath.Dir(o.Self), name), name} {
			if path, err := exec.LookPath(at); err == nil {
				return path, nil
			}
		}
		return "", errs.Problems{{Path: "--bin", Message: fmt.Sprintf("%s is neither in %s nor in PATH: say where it is", name, filepath.Dir(o.Self))}}
	}
	path, err := exec.LookPath(filepath.Join(o.Bin, name))
	if err != nil {
		return "", errs.Problems{{Path: "--bin", Value: strconv.Quote(o.Bin), Message: "want a directory with the program " + name}}
	}
	return path, nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// mosquitto is an outside broker with the settings that many workers need; the
// limit of open files it inherits from us.
func mosquitto(dir, name, port string) (*program, error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path = "/usr/sbin/mosquitto"; !exists(path) {
			return nil, errs.Problems{{Path: "broker", Value: `"mosquitto"`, Message: "is not installed; run: sudo apt-get install mosquitto"}}
		}
	}
	conf := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_connections -1\nmax_queued_messages 100000\npersistence false\nlog_type error\n"
	if os.Geteuid() == 0 {
		conf += "user root\n"
	}
	file := filepath.Join(dir, name+"-mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return &program{name: "mosquitto", path: path, args: []string{"-c", file}, log: filepath.Join(dir, name+"-mosquitto.log")}, nil
}

// start brings root, brokers and managers up and waits until they are linked.
func (v *site) start(ctx context.Context) error {
	if err := v.root.start(); err != nil {
		return err
	}
	if err := v.await(ctx, v.root, "http://"+v.address+"/readyz"); err != nil {
		return err
	}
	for _, m := range v.managers {
		if m.broker != nil {
			if err := m.broker.start(); err != nil {
				return err
			}
		}
		if m.relay != nil {
			if err := m.relay.start(); err != nil {
				return err
			}
		}
		if err := m.program.start(); err != nil {
			return err
		}
		if err := v.await(ctx, m.program, "http://"+m.address+"/readyz"); err != nil {
			return err
		}
	}
	return poll(ctx, 30*time.Second, func() error {
		c, err := v.counts(ctx)
		if err == nil && c.linked < len(v.managers) {
			err = fmt.Errorf("%d of %d cluster-managers are linked to the root: %w", c.linked, len(v.managers), errs.Unavailable)
		}
		return err
	})
}

func (v *site) await(ctx context.Context, p *program, url string) error {
	return poll(ctx, 30*time.Second, func() error {
		if err := p.alive(); err != nil {
			return err
		}
		return get(ctx, url, nil)
	})
}

// poll tries until it works.
func poll(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop ends everything.
func (v *site) stop() {
	for _, m := range v.managers {
		m.program.stop(syscall.SIGTERM)
		if m.broker != nil {
			m.broker.stop(syscall.SIGTERM)
		}
		if m.relay != nil {
			m.relay.stop()
		}
	}
	v.root.stop(syscall.SIGTERM)
}

// alive is nil while every process runs.
func (v *site) alive() error {
	for _, p := range v.programs() {
		if err := p.alive(); err != nil {
			return err
		}
	}
	return nil
}

func (v *site) programs() []*program {
	out := []*program{v.root}
	for _, m := range v.managers {
		out = append(out, m.program)
		if m.broker != nil {
			out = append(out, m.broker)
		}
	}
	return out
}

// counts is what the managers say of themselves.
type counts struct{ nodes, linked int }

func (v *site) counts(ctx context.Context) (counts, error) {
	var out counts
	for _, m := range v.managers {
		var a struct {
			Connected bool `json:"connected_to_root"`
			Nodes     int  `json:"active_nodes"`
		}
		if err := get(ctx, "http://"+m.address+"/api/cluster/status", &a); err != nil {
			return out, err
		}
		if out.nodes += a.Nodes; a.Connected {
			out.linked++
		}
	}
	return out, nil
}

func get(ctx context.Context, url string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errs.Unavailable)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %w", url, resp.Status, errs.Unavailable)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
