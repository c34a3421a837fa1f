package harness

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"oakestra/pkg/core/model"
)

// fillDisk keeps NodeEngine from writing what it is told to do; the function
// makes room again.
func (m *Machine) fillDisk(t *testing.T) (empty func()) {
	t.Helper()
	dir := filepath.Join(m.dir, "attempts")
	if err := os.Rename(dir, dir+".full"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(dir+".full", dir); err != nil {
			t.Fatal(err)
		}
	}
}

// A worker with a full disk reports, is the emptiest and so the first choice of
// everything: nothing stays there.
func TestAFullDiskKeepsNothing(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		_, list := s.site("a", 3)
		empty := list[0].fillDisk(t)
		id := s.run(Service{Name: "web", Memory: 100, VCPUs: 0.25}, 6)
		if n := len(list[0].Live()); n != 0 || len(s.on(id)) != 6 {
			t.Fatalf("%d live there, %d in all", n, len(s.on(id)))
		}
		empty()
		list[1].PowerOff()
		time.Sleep(15 * time.Second)
		s.Rest(t, 60*time.Second)
		if n := len(list[0].Live()); n == 0 || len(s.on(id)) != 6 {
			t.Errorf("with room again %d live there, %d in all", n, len(s.on(id)))
		}
		list[1].PowerOn()
		time.Sleep(15 * time.Second)
		s.Rest(t, 30*time.Second)
	})
}

// No worker of a cluster can start anything: the next cluster gets it. When no
// cluster can, it runs as soon as one can again.
func TestSickClustersPassOn(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		_, as := s.site("a", 2)
		b, bs := s.site("b", 2)
		var mend []func()
		for _, m := range as {
			mend = append(mend, m.fillDisk(t))
		}
		id := s.run(Service{Name: "web", Memory: 100}, 4)
		for n, l := range s.on(id) {
			if l[0].machine.Home != b {
				t.Errorf("slot %d is in a", n)
			}
		}
		for _, m := range bs {
			mend = append(mend, m.fillDisk(t))
		}
		other, err := s.Root().Create(t.Context(), Service{Name: "db", Memory: 100})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Root().Control.Scale(t.Context(), admin, other, 2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if n := len(s.on(other)); n != 0 {
			t.Fatalf("%d live on full disks", n)
		}
		for _, f := range mend {
			f()
		}
		time.Sleep(2 * time.Minute)
		s.Rest(t, 30*time.Second)
		if n := len(s.on(other)); n != 2 {
			t.Errorf("%d live", n)
		}
	})
}

// A copy of a worker's disk behind the same address does not push it out.
func TestACopyBehindOneAddress(t *testing.T) {
	scene(t, func(t *testing.T, s *stage) {
		c, list := s.site("a", 1)
		id := s.run(Service{Name: "web", Memory: 100}, 3)
		twin := s.NewMachine(c, list[0].Name, room())
		twin.Key, twin.Address = list[0].Key, list[0].Address
		twin.PowerOn()
		if least, most := s.most(id, 3, time.Minute); least != 1 || most != 1 {
			t.Errorf("%d to %d live", least, most)
		}
		if twin.ID() != "" || len(twin.Live()) != 0 {
			t.Errorf("the copy is %q and runs %d", twin.ID(), len(twin.Live()))
		}
		twin.PowerOff()
		first := list[0].ID()
		for range 3 { // its own restarts cost it nothing
			list[0].StopEngine(true)
			time.Sleep(500 * time.Millisecond)
			list[0].StartEngine()
			time.Sleep(4 * time.Second)
			if got := list[0].ID(); got != first || got == model.NodeID("") {
				t.Errorf("it is %q now", got)
			}
		}
		s.Rest(t, 30*time.Second)
		if least, most := s.most(id, 3, 10*time.Second); least != 1 || most != 1 {
			t.Errorf("%d to %d live", least, most)
		}
	})
}
