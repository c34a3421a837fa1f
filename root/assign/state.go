package assign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"oakestra/pkg/core/address"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/placement"
	"oakestra/pkg/errs"
	"oakestra/root/clusters"
	"oakestra/root/store"
)

// state is what the loop owns.
type state struct {
	clusters  map[model.ClusterID]store.Cluster
	instances map[model.InstanceID]*slot
	of        map[model.ServiceID]map[model.InstanceID]*slot // the same, by service
	services  map[model.ServiceID]*model.Service             // read by the resolver, too: replaced, never written to
	blocks    *address.Blocks
	index     *placement.Index

	rolling map[model.ServiceID]bool // services whose rollout goes on

	// waiting slots belong to no cluster: they want one, or are tombstones
	// that nobody has to carry out.
	waiting map[model.InstanceID]bool
	agenda  // of the waiting ones
	// refusing slots are refused by the cluster they belong to, which tries
	// again by itself while nobody else has room.
	refusing map[model.InstanceID]bool
	ending   map[model.InstanceID]bool // tombstones
	// settle holds instances that were reported as placed; their reservations
	// end with the aggregate that counts them itself.
	settle map[model.ClusterID]map[model.InstanceID]settling
	rooms  map[model.ClusterID]clusters.Room // as last looked at

	loss    loss
	sweepAt time.Time
	strays  strays

	incarnation uint32
	issued      instance.Grant // no greater grant was ever given out by this store
	recovery    bool
	forgetful   error                               // why the witness file could not be written
	awaited     map[model.ClusterID]bool            // clusters to be heard in recovery
	applicants  map[model.ClusterID]applicant       // who asked for a name that is taken, last
	held        map[model.ClusterID][]clusters.Held // what was heard: answered when recovery ends
	adopted     map[model.ServiceID]bool            // services clusters have brought since the start
	adoptedApps map[model.ApplicationID]bool        // applications, too
}

// settling is a placement that no aggregate has counted yet.
type settling struct {
	placed time.Time // when it was reported
	number uint64    // of the first aggregate that counts it; 0: not told
}

// counted says whether an aggregate counts the placement.
func (v settling) counted(r clusters.Room) bool {
	if v.number != 0 && r.Number != 0 {
		return r.Number >= v.number
	}
	return r.At.After(v.placed.Add(late))
}

// slot is a stored instance with what the loop remembers of it.
type slot struct {
	store.Instance
	retryAt time.Time // while it waits: when it is looked at again, zero for now
	refused *refusals // by clusters, until they have more room; nil for none
	// former clusters were given the slot before, or hold it for other
	// reasons, and have not said that nothing is left there.
	former map[model.ClusterID]instance.Grant
	waits  waits
	gone   bool // its own cluster has carried the tombstone out
	moving bool // a new grant is about to be stored
	// unsure: some cluster may have room, once it has counted what is on its
	// way there.
	unsure bool
	watch  watch

	endsSince   time.Time // of a tombstone: when it was first looked at
	remainsTold bool      // and that it waits was told
}

func newState() *state {
	return &state{
		settle: map[model.ClusterID]map[model.InstanceID]settling{}, rooms: map[model.ClusterID]clusters.Room{},
		awaited: map[model.ClusterID]bool{}, applicants: map[model.ClusterID]applicant{}, held: map[model.ClusterID][]clusters.Held{},
		adopted: map[model.ServiceID]bool{}, adoptedApps: map[model.ApplicationID]bool{},
	}
}

// put enters a record and returns its slot.
func (s *state) put(in store.Instance) *slot {
	v, ok := s.instances[in.ID]
	if !ok {
		v = &slot{former: maps.Clone(in.Former)}
		s.instances[in.ID] = v
		if s.of[in.ID.Service] == nil {
			s.of[in.ID.Service] = map[model.InstanceID]*slot{}
		}
		s.of[in.ID.Service][in.ID] = v
	}
	v.Instance = in
	if in.Cluster != "" {
		v.waits = waits{}
		s.stopWaiting(in.ID)
	} else if !s.waiting[in.ID] || in.Tombstone {
		s.wait(v)
	}
	if in.Tombstone {
		delete(s.refusing, in.ID)
		s.ending[in.ID] = true
	} else {
		delete(s.ending, in.ID)
	}
	return v
}

// heldBy notes that a cluster was given the slot before.
func (in *slot) heldBy(id model.ClusterID, g instance.Grant) {
	if in.former == nil { // as most
		in.former = map[model.ClusterID]instance.Grant{}
	}
	in.former[id] = g
}

// know enters a service.
func (s *state) know(v model.Service) {
	s.services[v.ID] = &v
	if v.Rollout.State == model.RolloutRunning {
		s.rolling[v.ID] = true
	} else {
		delete(s.rolling, v.ID)
	}
}

// drop forgets a record.
func (s *state) drop(id model.InstanceID) {
	delete(s.instances, id)
	if delete(s.of[id.Service], id); len(s.of[id.Service]) == 0 {
		delete(s.of, id.Service)
	}
	s.stopWaiting(id)
	delete(s.refusing, id)
	delete(s.ending, id)
	s.index.Release(id.String())
}

func (s *state) awaitedNames() []string {
	var names []string
	for id := range s.awaited {
		names = append(names, s.clusters[id].Name)
	}
	slices.Sort(names)
	return names
}

// open reads everything stored and finds out whether this is a recovery.
func (d *Desk) open(ctx context.Context) (*state, error) {
	s := newState()
	if err := d.settleIncarnation(ctx, s); err != nil {
		return nil, fmt.Errorf("settle the incarnation: %w", err)
	}
	if err := d.load(ctx, s); err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	d.remember(ctx, s)
	d.deps.Events.Begin(uint64(s.issued))
	if s.recovery {
		d.tellRecovery("RecoveryBegan", "the store is lost or older than this root remembers; nothing is allocated until its clusters have reported")
	}
	return s, nil
}

// load (re)builds the state from the store.
func (d *Desk) load(ctx context.Context, s *state) error {
	st := d.deps.Store
	cl, err1 := st.Clusters().List(ctx)
	blocks, err2 := st.Blocks().List(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// The long ones side by side: a root with 100 000 services spends its start
	// on decoding records.
	var ins []store.Instance
	var svcs []model.Service
	var claims []store.Claim
	var g errgroup.Group
	g.Go(func() (err error) { svcs, err = st.Services().List(ctx, ""); return err })
	g.Go(func() (err error) { ins, err = st.Instances().List(ctx, ""); return err })
	g.Go(func() (err error) { claims, err = st.Claims().List(ctx); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	s.clusters, s.instances, s.services = map[model.ClusterID]store.Cluster{}, make(map[model.InstanceID]*slot, len(ins)), make(map[model.ServiceID]*model.Service, len(svcs))
	s.of = make(map[model.ServiceID]map[model.InstanceID]*slot, len(svcs))
	s.ending = map[model.InstanceID]bool{}
	s.waiting, s.refusing, s.agenda = map[model.InstanceID]bool{}, map[model.InstanceID]bool{}, newAgenda()
	s.blocks, s.index = address.NewBlocks(), placement.NewIndex()
	s.rolling = map[model.ServiceID]bool{}
	for _, v := range svcs {
		s.know(v)
	}
	for _, in := range ins {
		s.put(in)
	}
	for _, b := range blocks {
		if err := s.blocks.Claim(b.Prefix, b.Cluster); err != nil {
			d.log.Error("a stored block cannot be right", "block", b.Prefix.String(), "error", err)
		}
	}
	for _, c := range cl {
		s.clusters[c.ID] = c
		d.deps.Book.Know(c)
		d.refreshRoom(s, c.ID)
	}
	closed := ""
	if s.recovery {
		closed = "the root is in recovery"
	}
	g.Go(func() error { d.resolve.load(s.services, s.instances); return nil })
	g.Go(func() error { d.Pool.load(claims, closed); return nil })
	for _, in := range s.instances {
		d.promise(s, in)
	}
	_ = g.Wait() // neither fails
	d.show(s)
	return nil
}

// promise reserves again what a cluster was given and has not confirmed.
func (d *Desk) promise(s *state, in *slot) {
	if in.Cluster == "" || in.Tombstone {
		return
	}
	f, heard := d.deps.Book.Reports(in.ID)[in.Cluster]
	if heard && f.Grant == in.Grant && f.Placement.Verdict != instance.Pending {
		return // counted by the cluster itself, or refused
	}
	s.index.Reserve(in.ID.String(), string(in.Cluster), request(in, in.Service))
}

// reload reads a service and its slots again, after a user changed them or a
// cluster's were adopted.
func (d *Desk) reload(ctx context.Context, s *state, id model.ServiceID) error {
	svc, err := d.deps.Store.Services().Get(ctx, id)
	exists := err == nil
	if err != nil && !errors.Is(err, errs.NotFound) {
		return err
	}
	list, err := d.deps.Store.Instances().List(ctx, id)
	if err != nil {
		return err
	}
	if exists {
		s.know(svc)
	} else {
		// Whoever removed it has retired its address, which may be in use
		// again by now.
		delete(s.services, id)
		delete(s.rolling, id)
	}
	var slots []*slot
	stops := orders{}
	listed := map[model.InstanceID]bool{}
	for _, in := range list {
		listed[in.ID] = true
		slots = append(slots, d.enter(s, in, stops))
	}
	for sid := range s.of[id] {
		if !listed[sid] {
			s.drop(sid)
		}
	}
	d.resolve.replace(id, &svc, exists, slots)
	if !s.recovery {
		d.announce(stops)
	}
	return nil
}

// enter takes in a record as it is stored, and orders its end if that is new.
func (d *Desk) enter(s *state, in store.Instance, stops orders) *slot {
	was, known := s.instances[in.ID]
	stop := in.Tombstone && (!known || !was.Tombstone)
	v := s.put(in)
	if stop {
		d.stop(v, stops)
	}
	return v
}

// reloadSlot reads one slot again. A service that gathers many must not be
// read as a whole for each.
func (d *Desk) reloadSlot(ctx context.Context, s *state, id model.InstanceID) error {
	if s.services[id.Service] == nil {
		return d.reload(ctx, s, id.Service)
	}
	in, err := d.deps.Store.Instances().Get(ctx, id)
	if errors.Is(err, errs.NotFound) {
		if s.instances[id] == nil {
			return nil // it came and went
		}
		return d.reload(ctx, s, id.Service)
	}
	if err != nil {
		return err
	}
	stops := orders{}
	d.resolve.change(d.enter(s, in, stops))
	if !s.recovery {
		d.announce(stops)
	}
	return nil
}

// stop tells everybody who has a slot to remove it, each under its own grant.
func (d *Desk) stop(in *slot, out orders) {
	if in.Cluster != "" {
		out.add(in.Cluster, in.Instance)
	}
	for c, f := range d.deps.Book.Reports(in.ID) {
		if c != in.Cluster && f.Grant < in.Grant {
			in.heldBy(c, f.Grant)
		}
	}
	for c, g := range in.former {
		out.add(c, tombstone(in.Instance, g))
	}
}

// tombstone is the end of a slot under an older grant.
func tombstone(in store.Instance, g instance.Grant) store.Instance {
	in.Grant, in.Tombstone = g, true
	return in
}
