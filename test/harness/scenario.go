package harness

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/control"
)

// Scenario is a run of random wishes and faults that its seed decides.
type Scenario struct {
	*World
	t     testing.TB
	rng   *rand.Rand
	begin time.Time
	until time.Time // of the last fault
	ends  []ending
	Done  map[string]int // what was done, by name

	services []*wish
	made     int
	dead     map[*Cluster]bool // has a machine that stays off
	away     map[any]bool      // broken now, is mended by an ending
}

// wish is a service as its user remembers it: what was acknowledged.
type wish struct {
	id      model.ServiceID
	numbers map[int]bool
	oneShot bool
}

// ending mends something later.
type ending struct {
	at time.Time
	do func()
}

// NewScenario makes 3 clusters with 50 workers.
func NewScenario(t testing.TB, cfg Config, length time.Duration) *Scenario {
	s := &Scenario{
		World: New(t, cfg), t: t, rng: rand.New(rand.NewPCG(cfg.Seed, 2)), Done: map[string]int{}, dead: map[*Cluster]bool{}, away: map[any]bool{},
	}
	for i, n := range []int{17, 17, 16} {
		c := s.AddCluster(fmt.Sprintf("cluster%d", i))
		for j := range n {
			s.NewMachine(c, fmt.Sprintf("c%dw%d", i, j), model.Resources{
				MilliCPU: int64(1000 * (2 + s.rng.IntN(4))), MemoryMB: int64(1000 * (2 + s.rng.IntN(4))), DiskMB: 10000,
			})
		}
	}
	for _, m := range s.Machines() {
		m.PowerOn()
	}
	time.Sleep(8 * time.Second)
	s.begin = time.Now()
	s.until = s.begin.Add(length)
	return s
}

// act is something that may happen.
type act struct {
	weight int
	name   string
	do     func() bool // false: it did not apply
}

func (s *Scenario) acts() []act {
	return []act{
		{10, "create", s.create}, {15, "deploy", s.deploy}, {12, "scale", s.scale}, {8, "undeploy", s.undeploy}, {4, "delete", s.remove}, {8, "update", s.update},
		{8, "crash", s.crash}, {6, "complete", s.complete}, {8, "restart engine", s.restartEngine}, {5, "restart net", s.restartNet},
		{6, "power cycle", s.powerCycle}, {1, "power off for good", s.powerOff}, {8, "cut node", s.cutNode}, {5, "cut cluster", s.cutCluster}, {4, "sever root link", s.sever},
		{4, "kill cluster", s.killCluster}, {3, "kill root", s.killRoot}, {3, "drain", s.drain},
	}
}

// Play does what the seed says, then mends everything that is to be mended.
// Each step has numbers of its own: what an earlier one found, which may differ
// from run to run, does not change what this one tries.
func (s *Scenario) Play() {
	for range 6 {
		s.create()
	}
	list := s.acts()
	total := 0
	for _, a := range list {
		total += a.weight
	}
	for step := uint64(0); ; step++ {
		s.rng = rand.New(rand.NewPCG(s.Seed, 3+step))
		pause := time.Duration(100+s.rng.IntN(1400)) * time.Millisecond
		s.pass(time.Now().Add(pause))
		if !time.Now().Before(s.until) {
			break
		}
		n := s.rng.IntN(total)
		for _, a := range list {
			if n -= a.weight; n < 0 {
				if a.do() {
					s.Done[a.name]++
				}
				break
			}
		}
	}
	s.heal()
}

// pass lets time go by; what is to be mended meanwhile is mended in time.
func (s *Scenario) pass(until time.Time) {
	for {
		i := -1
		for j, e := range s.ends {
			if !e.at.After(until) && (i < 0 || e.at.Before(s.ends[i].at)) {
				i = j
			}
		}
		if i < 0 {
			break
		}
		e := s.ends[i]
		s.ends = slices.Delete(s.ends, i, i+1)
		time.Sleep(time.Until(e.at))
		e.do()
	}
	time.Sleep(time.Until(until))
}

func (s *Scenario) heal() {
	slices.SortFunc(s.ends, func(a, b ending) int { return a.at.Compare(b.at) })
	for _, e := range s.ends {
		e.do()
	}
	s.ends = nil
}

// brake breaks something for a while, unless it is broken.
func (s *Scenario) breaks(what any, least, most time.Duration, mend func()) bool {
	if s.away[what] {
		return false
	}
	s.away[what] = true
	d := least + time.Duration(s.rng.Int64N(int64(most-least)))
	s.ends = append(s.ends, ending{time.Now().Add(d), func() { mend(); delete(s.away, what) }})
	return true
}

func (s *Scenario) machine() *Machine { return s.Machines()[s.rng.IntN(len(s.Machines()))] }
func (s *Scenario) cluster() *Cluster { return s.Clusters()[s.rng.IntN(len(s.Clusters()))] }

// asked says whether the root took a wish. While it is down or recovers it
// takes none; any other refusal is a failure.
func (s *Scenario) asked(err error) bool {
	if err != nil && !errsIs(err, errs.Unavailable) {
		s.t.Errorf("a user was refused: %v", err)
	}
	return err == nil
}

func (s *Scenario) create() bool {
	r := s.Root()
	if r == nil || len(s.services) >= 14 {
		return false
	}
	s.made++
	v := Service{Name: fmt.Sprintf("app%d", s.made), Memory: 50 + s.rng.IntN(350), VCPUs: float64(1+s.rng.IntN(5)) / 10}
	switch s.rng.IntN(5) {
	case 0:
		v.Port = fmt.Sprintf("%d:80", 8080+s.rng.IntN(4))
	case 1:
		v.OneShot = true
	}
	if s.rng.IntN(2) == 0 {
		v.Loss = "replace"
	}
	if s.rng.IntN(6) == 0 {
		v.Rules = fmt.Sprintf(`[{"type":"clusters","allowed":[%q]}]`, s.cluster().Name)
	}
	n := 1 + s.rng.IntN(6)
	id, err := r.Create(context.Background(), v)
	if !s.asked(err) {
		return false
	}
	w := &wish{id: id, numbers: map[int]bool{}, oneShot: v.OneShot}
	s.services = append(s.services, w)
	return s.bring(r, w, n)
}

func (s *Scenario) bring(r *Root, w *wish, n int) bool {
	got, err := r.Control.Scale(context.Background(), admin, w.id, n)
	if !s.asked(err) {
		return false
	}
	for _, i := range got.Added {
		if w.numbers[i] {
			s.t.Errorf("I1: number %d of service %s was given twice", i, w.id)
		}
		w.numbers[i] = true
	}
	for _, i := range got.Removed {
		delete(w.numbers, i)
	}
	return true
}

func (s *Scenario) some() (*Root, *wish) {
	r := s.Root()
	if r == nil || len(s.services) == 0 {
		return nil, nil
	}
	return r, s.services[s.rng.IntN(len(s.services))]
}

func (s *Scenario) deploy() bool {
	r, w := s.some()
	if r == nil || len(w.numbers) > 9 {
		return false
	}
	in, err := r.Control.Deploy(context.Background(), admin, w.id)
	if !s.asked(err) {
		return false
	}
	w.numbers[in.ID.Number] = true
	return true
}

func (s *Scenario) scale() bool {
	r, w := s.some()
	return r != nil && s.bring(r, w, s.rng.IntN(9))
}

func (s *Scenario) undeploy() bool {
	r, w := s.some()
	if r == nil || len(w.numbers) == 0 {
		return false
	}
	list := slices.Sorted(maps.Keys(w.numbers))
	n := list[s.rng.IntN(len(list))]
	if !s.asked(r.Control.Undeploy(context.Background(), admin, w.id, n)) {
		return false
	}
	delete(w.numbers, n)
	return true
}

func (s *Scenario) remove() bool {
	r, w := s.some()
	if r == nil || !s.asked(r.Control.DeleteService(context.Background(), admin, w.id)) {
		return false
	}
	s.services = slices.DeleteFunc(s.services, func(o *wish) bool { return o == w })
	return true
}

func (s *Scenario) update() bool {
	r, w := s.some()
	if r == nil {
		return false
	}
	_, _, err := r.Control.UpdateService(context.Background(), admin, w.id, fmt.Appendf(nil, `{"environment":["A=%d"]}`, s.rng.IntN(1000)))
	return s.asked(err)
}

// crash ends a container by itself.
func (s *Scenario) crash() bool {
	m := s.machine()
	live := m.Live()
	if len(live) == 0 {
		return false
	}
	m.Exit(live[s.rng.IntN(len(live))], int32(1+s.rng.IntN(3)))
	return true
}

// complete ends a one-shot with success.
func (s *Scenario) complete() bool {
	for range 20 {
		m := s.machine()
		for _, c := range m.Live() {
			if c.Spec.OneShot {
				m.Exit(c, 0)
				return true
			}
		}
	}
	return false
}

func (s *Scenario) restartEngine() bool {
	m := s.machine()
	if s.away[m] || !m.On() || !s.breaks([2]any{m, "engine"}, 100*time.Millisecond, 20*time.Second, m.StartEngine) {
		return false
	}
	m.StopEngine(s.rng.IntN(2) == 0)
	return true
}

func (s *Scenario) restartNet() bool {
	m := s.machine()
	if s.away[m] || !m.On() || !s.breaks([2]any{m, "net"}, 100*time.Millisecond, 20*time.Second, m.StartNet) {
		return false
	}
	m.StopNet(s.rng.IntN(2) == 0)
	return true
}

func (s *Scenario) powerCycle() bool {
	m := s.machine()
	if !m.On() || !s.breaks(m, time.Second, 25*time.Second, m.PowerOn) {
		return false
	}
	m.PowerOff()
	return true
}

// powerOff ends a machine for ever, one per cluster at most.
func (s *Scenario) powerOff() bool {
	m := s.machine()
	if s.away[m] || s.dead[m.Home] {
		return false
	}
	s.away[m], s.dead[m.Home], m.OffForGood = true, true, true
	m.PowerOff()
	return true
}

func (s *Scenario) cutNode() bool {
	m := s.machine()
	if !s.breaks([2]any{m, "cable"}, 500*time.Millisecond, 30*time.Second, func() { m.cable.set(false) }) {
		return false
	}
	m.cable.set(true)
	return true
}

func (s *Scenario) cutCluster() bool {
	c := s.cluster()
	most := 40 * time.Second
	if s.rng.IntN(4) == 0 {
		most = 120 * time.Second
	}
	if !s.breaks([2]any{c, "cable"}, time.Second, most, func() { c.cable.set(false) }) {
		return false
	}
	c.cable.set(true)
	return true
}

func (s *Scenario) sever() bool {
	s.cluster().cable.sever()
	return true
}

func (s *Scenario) killCluster() bool {
	c := s.cluster()
	if !s.breaks(c, 100*time.Millisecond, 15*time.Second, c.Start) {
		return false
	}
	c.Kill()
	return true
}

func (s *Scenario) killRoot() bool {
	if !s.breaks("root", 100*time.Millisecond, 10*time.Second, s.StartRoot) {
		return false
	}
	s.KillRoot()
	return true
}

func (s *Scenario) drain() bool {
	r, m := s.Root(), s.machine()
	l := m.Home.current()
	if r == nil || l == nil || m.ID() == "" {
		return false
	}
	verb := []control.NodeVerb{control.Drain, control.Uncordon, control.Cordon}[s.rng.IntN(3)]
	_, err := r.Control.OrderNode(context.Background(), admin, m.ID(), m.Home.Name, verb)
	if err != nil && !errsIs(err, errs.Unavailable, errs.NotFound) {
		s.t.Errorf("order %d for %s: %v", verb, m.Name, err)
	}
	return err == nil
}

// Lost lists acknowledged wishes that the root has forgotten, and others that
// nobody had (I3).
func (s *Scenario) Lost() (out []string) {
	p, err := s.look(s.Root())
	if err != nil {
		return []string{err.Error()}
	}
	want := map[model.InstanceID]bool{}
	for _, w := range s.services {
		if !slices.ContainsFunc(p.services, func(v model.Service) bool { return v.ID == w.id }) {
			out = append(out, fmt.Sprintf("I3 service %s is lost", w.id))
		}
		for n := range w.numbers {
			want[model.InstanceID{Service: w.id, Number: n}] = true
		}
	}
	for id := range want {
		if _, ok := p.wanted[id]; !ok {
			out = append(out, fmt.Sprintf("I3 instance %s is lost", id))
		}
	}
	for id := range p.wanted {
		if !want[id] {
			out = append(out, fmt.Sprintf("I3 instance %s is wanted by nobody", id))
		}
	}
	return out
}

// Within is how long rest may take after the last fault: 30 s; while a brake
// pauses replacements and a machine stays off, 30 s after the brake.
func (s *Scenario) Within() time.Duration {
	if until := s.brakedUntil(); !until.IsZero() && len(s.dead) > 0 {
		return time.Until(until) + 30*time.Second
	}
	return 30 * time.Second
}

// String sums up what was done.
func (s *Scenario) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.Done)) {
		fmt.Fprintf(&b, "%s %d, ", k, s.Done[k])
	}
	return strings.TrimSuffix(b.String(), ", ")
}
