package agents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// beat is the period of reports: 2 s in the original, faster here.
const beat = 500 * time.Millisecond

// task is what an engine reads of a deploy. Its decoder is strict: at the first
// wrong type the whole message is dropped, and nobody is told.
type task struct {
	ID      string   `json:"_id"`
	Name    string   `json:"job_name"`
	Number  int      `json:"instance_number"`
	Image   string   `json:"image"`
	Cmd     []string `json:"cmd"`
	Env     []string `json:"environment"`
	Port    string   `json:"port"`
	Status  string   `json:"status"`
	Runtime string   `json:"virtualization"`
	VTPUs   int      `json:"vtpus"`
	VGPUs   int      `json:"vgpus"`
	VCPUs   int      `json:"vcpus"`
	Memory  int      `json:"memory"`
	OneShot bool     `json:"one_shot"`
}

func (t task) id() string { return fmt.Sprintf("%s.instance.%d", t.Name, t.Number) }

// Engine is a NodeEngine.
type Engine struct {
	ID string

	t      testing.TB
	gen    Generation
	client paho.Client
	net    *NetManager
	stop   chan struct{}
	loops  sync.WaitGroup

	mu       sync.Mutex
	tasks    map[string]task // all run
	starts   int
	refusals int
	doubled  bool
}

// StartEngine registers a machine at a cluster manager (host:port) and connects
// to the broker it is told. Whatever fails is fatal, as in the original. With
// netmanager, one is started beside it.
func StartEngine(t testing.TB, g Generation, cluster, host, machine string, netmanager bool) *Engine {
	t.Helper()
	id, broker := register(t, g, cluster, host, machine)
	e := &Engine{ID: id, t: t, gen: g, stop: make(chan struct{}), tasks: map[string]task{}}
	if netmanager {
		e.net = startNetManager(t, g, broker, id)
	}
	e.client = connect(t, broker, id+"-ne", map[string]paho.MessageHandler{
		"nodes/" + id + "/control/deploy": func(_ paho.Client, m paho.Message) { e.deploy(m) },
		"nodes/" + id + "/control/delete": func(_ paho.Client, m paho.Message) { e.delete(m) },
	})
	e.loops.Go(e.report)
	t.Cleanup(e.Kill)
	return e
}

func register(t testing.TB, g Generation, cluster, host, machine string) (id, broker string) {
	t.Helper()
	body, err := g.registration(host, machine)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+cluster+"/api/node/register", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	var answer struct { // a number for either is fatal
		ID   string `json:"id"`
		Port string `json:"MQTT_BROKER_PORT"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode != http.StatusOK || answer.ID == "" || answer.Port == "" {
		t.Fatalf("registration: %d %s, %v", resp.StatusCode, text, err)
	}
	address, _, _ := net.SplitHostPort(cluster)
	return answer.ID, net.JoinHostPort(address, answer.Port)
}

// connect is the originals' client: MQTT 3.1.1, clean session, keep-alive 30 s,
// no will, no user, quality 1; it connects and subscribes again by itself.
func connect(t testing.TB, broker, id string, subscriptions map[string]paho.MessageHandler) paho.Client {
	t.Helper()
	o := paho.NewClientOptions().AddBroker("tcp://" + broker).SetClientID(id).SetCleanSession(true).SetKeepAlive(30 * time.Second)
	o.SetAutoReconnect(true).SetMaxReconnectInterval(200 * time.Millisecond).SetProtocolVersion(4)
	ready := make(chan error, 64)
	o.SetOnConnectHandler(func(c paho.Client) {
		var failed error
		for topic, fn := range subscriptions {
			tok := c.Subscribe(topic, 1, func(c paho.Client, m paho.Message) {
				if m.Retained() {
					t.Errorf("%s: retained", m.Topic())
				}
				fn(c, m)
			})
			if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
				failed = fmt.Errorf("subscribe %s: %w", topic, tok.Error())
			}
		}
		select {
		case ready <- failed:
		default:
		}
	})
	c := paho.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("%s: connect: %v", id, tok.Error())
	}
	if err := <-ready; err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return c
}

func publish(c paho.Client, topic string, payload any) {
	if b, err := json.Marshal(payload); err == nil {
		c.Publish(topic, 1, false, b)
	}
}

func (e *Engine) deploy(m paho.Message) {
	var t task
	if json.Unmarshal(m.Payload(), &t) != nil {
		return
	}
	if t.Runtime != "docker" {
		e.t.Errorf("%s: runtime %q: the original crashes", e.ID, t.Runtime)
		return
	}
	e.mu.Lock()
	doubled := e.doubled
	e.mu.Unlock()
	e.start(t)
	if doubled {
		e.start(t)
	}
}

func (e *Engine) start(t task) {
	e.mu.Lock()
	_, there := e.tasks[t.id()]
	if there {
		e.refusals++
	} else {
		e.tasks[t.id()] = t
		e.starts++
	}
	e.mu.Unlock()
	if there {
		e.say(t, "FAILED", e.gen.already)
		return
	}
	if e.net != nil {
		e.net.attach(t)
	}
	e.say(t, e.gen.started, "")
}

func (e *Engine) delete(m paho.Message) {
	var t task
	if json.Unmarshal(m.Payload(), &t) != nil {
		return
	}
	e.mu.Lock()
	_, there := e.tasks[t.id()]
	delete(e.tasks, t.id())
	e.mu.Unlock()
	switch {
	case !there && e.gen.unknown:
		e.say(t, "UNDEPLOYED", "")
	case there && e.gen.background:
		e.say(t, "UNDEPLOYED", "")
		e.loops.Go(func() { e.after(60*time.Millisecond, func() { e.say(t, "DEAD", "Container is starting up") }) })
	case there: // nothing else is heard meanwhile
		e.say(t, "DEAD", "")
		e.after(killWait, func() { e.say(t, "UNDEPLOYED", "") })
	}
}

func (e *Engine) after(d time.Duration, fn func()) {
	select {
	case <-e.stop:
	case <-time.After(d):
		fn()
	}
}

func (e *Engine) say(t task, status, detail string) {
	publish(e.client, "nodes/"+e.ID+"/job", map[string]any{
		"sname": t.Name, "status": status, "status_detail": detail, "instance": t.Number, "publicip": "192.0.2.2",
	})
}

// report is both loops: what the machine uses, and a list of tasks per runtime.
func (e *Engine) report() {
	info, err := e.gen.sample("up/information.json")
	if err != nil {
		e.t.Error(err)
		return
	}
	for {
		publish(e.client, "nodes/"+e.ID+"/information", info)
		for i := range e.gen.lists {
			list := []any{}
			for _, t := range e.Tasks() {
				if i == 0 || e.gen.same {
					list = append(list, e.gen.usage(t))
				}
			}
			publish(e.client, "nodes/"+e.ID+"/jobs/resources", map[string]any{"services": list})
		}
		select {
		case <-e.stop:
			return
		case <-time.After(beat):
		}
	}
}

// Tasks are what runs, by name.
func (e *Engine) Tasks() []task {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []task
	for _, t := range e.tasks {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b task) int { return strings.Compare(a.id(), b.id()) })
	return out
}

// Counts says how often something was started, and how often a second deploy of
// the same was refused.
func (e *Engine) Counts() (starts, refusals int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.starts, e.refusals
}

// Double makes the engine take every deploy twice, as quality 1 allows.
func (e *Engine) Double(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doubled = on
}

// Exit ends every container with a code that this engine may or may not tell.
func (e *Engine) Exit(code int) {
	tasks := e.Tasks()
	e.mu.Lock()
	clear(e.tasks)
	e.mu.Unlock()
	for _, t := range tasks {
		word, detail := "DEAD", fmt.Sprintf("Container exited with status: %d", code)
		if t.OneShot && code == 0 && e.gen.oneShot {
			word = "COMPLETED"
		}
		if e.gen.percent {
			detail = "Container is starting up"
		}
		e.say(t, word, detail)
	}
}

// Kill ends the agents, at once and without a word; the next start removes what
// ran.
func (e *Engine) Kill() {
	select {
	case <-e.stop:
		return
	default:
	}
	close(e.stop)
	e.client.Disconnect(0)
	e.loops.Wait()
	if e.net != nil {
		e.net.client.Disconnect(0)
	}
}
