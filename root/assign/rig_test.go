package assign_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	linkv1 "oakestra/api/link/v1"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/testkit"
	"oakestra/root/assign"
	"oakestra/root/clusters"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// below is what root.Daemon hands to users.
type below struct {
	*clusters.Book
	*assign.Desk
}

// rig is a root without REST: store, desk, links and what users call.
type rig struct {
	t    *testing.T
	dir  string
	file *boltstore.Store
	st   store.Store
	book *clusters.Book
	desk *assign.Desk
	ctl  *control.Control
	mem  *witness.File
	told *events.Journal

	wire   *bufconn.Listener
	server *grpc.Server
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once
}

var admin = control.Caller{Name: "Admin", Admin: true}

// start runs a root on a data directory, as it stands. wrap may change the
// store the desk sees.
func start(t *testing.T, dir string, wrap ...func(store.Store) store.Store) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, wire: bufconn.Listen(1 << 20)}
	var err error
	if r.file, _, err = boltstore.Open(filepath.Join(dir, "root.db")); err != nil {
		t.Fatal(err)
	}
	r.st = r.file
	for _, w := range wrap {
		r.st = w(r.st)
	}
	if r.mem, err = witness.Open(filepath.Join(dir, "witness.json")); err != nil {
		t.Fatal(err)
	}
	log := testkit.Logger(t)
	r.book = clusters.NewBook(nil)
	r.told = events.NewJournal(nil)
	r.desk = assign.NewDesk(assign.Deps{Store: r.st, Book: r.book, Witness: r.mem, Events: r.told, Logger: log})
	links := clusters.NewServer(r.book, r.desk, log)
	r.server = links.GRPC()
	r.ctl = control.New(control.Deps{Store: r.st, Addresses: r.desk, Below: below{r.book, r.desk}, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.done.Go(func() {
		if err := r.desk.Run(ctx); err != nil {
			t.Errorf("desk: %v", err)
		}
	})
	r.done.Go(func() { _ = r.server.Serve(r.wire) })
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// stop ends the root; kill -9 looks the same to the store, which syncs.
func (r *rig) stop() {
	r.once.Do(func() {
		r.server.Stop()
		r.cancel()
		r.done.Wait()
		_ = r.wire.Close()
		if err := r.file.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

// restart stops the root, lets something happen to its files, and starts it.
func (r *rig) restart(between ...func(dir string)) *rig {
	r.t.Helper()
	r.stop()
	for _, f := range between {
		f(r.dir)
	}
	return start(r.t, r.dir)
}

func loseStore(dir string) { _ = os.Remove(filepath.Join(dir, "root.db")) }

func loseEverything(dir string) {
	loseStore(dir)
	_ = os.Remove(filepath.Join(dir, "witness.json"))
}

// backup keeps a copy of a file of a stopped root and returns what puts it back.
func backup(t *testing.T, dir string, names ...string) (restore func(dir string)) {
	t.Helper()
	kept := map[string][]byte{}
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		kept[n] = data
	}
	return func(dir string) {
		for n, data := range kept {
			if err := os.WriteFile(filepath.Join(dir, n), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// wants describes a service for rig.service.
type wants struct {
	vcpus   int
	memory  int
	address string
	port    string
	rules   string // JSON list of constraints
}

// service stores an application with one service.
func (r *rig) service(app string, w wants) model.Service {
	r.t.Helper()
	v, err := r.tryService(app, w)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) tryService(app string, w wants) (model.Service, error) {
	if w.rules == "" {
		w.rules = "[]"
	}
	body := fmt.Sprintf(`{"sla_version":"v2.0","customerID":"Admin","applications":[{"applicationID":"","application_name":%q,
		"application_namespace":"test","application_desc":"about %s","microservices":[{"microserviceID":"","microservice_name":"web",
		"microservice_namespace":"test","virtualization":"container","memory":%d,"vcpus":%d,"storage":0,"code":"docker.io/library/nginx:latest",
		"port":%q,"addresses":{"rr_ip":%q},"constraints":%s}]}]}`, app, app, w.memory, w.vcpus, w.port, w.address, w.rules)
	apps, err := r.ctl.CreateApplications(r.t.Context(), admin, []byte(body))
	if err != nil {
		return model.Service{}, err
	}
	list, err := r.file.Services().List(r.t.Context(), apps[0].ID)
	if err != nil || len(list) != 1 {
		return model.Service{}, fmt.Errorf("services of %s: %v, %w", app, list, err)
	}
	return list[0], nil
}

// deploy asks for n instances and waits until nothing moves.
func (r *rig) deploy(id model.ServiceID, n int) {
	r.t.Helper()
	for range n {
		if _, err := r.ctl.Deploy(r.t.Context(), admin, id); err != nil {
			r.t.Fatal(err)
		}
	}
	synctest.Wait()
}

func (r *rig) undeploy(id model.ServiceID, number int) {
	r.t.Helper()
	if err := r.ctl.Undeploy(r.t.Context(), admin, id, number); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// instance is the stored record.
func (r *rig) instance(id model.ServiceID, number int) store.Instance {
	r.t.Helper()
	in, err := r.file.Instances().Get(r.t.Context(), model.InstanceID{Service: id, Number: number})
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

func (r *rig) gone(id model.ServiceID, number int) bool {
	r.t.Helper()
	_, err := r.file.Instances().Get(r.t.Context(), model.InstanceID{Service: id, Number: number})
	if err != nil && !errors.Is(err, errs.NotFound) {
		r.t.Fatal(err)
	}
	return err != nil
}

// claim is what the store says of an address.
func (r *rig) claim(a netip.Addr) (store.Claim, bool) {
	r.t.Helper()
	list, err := r.file.Claims().List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(c store.Claim) bool { return c.Address == a })
	if i < 0 {
		return store.Claim{}, false
	}
	return list[i], true
}

func (r *rig) recovering() bool {
	on, _ := r.desk.Recovery()
	return on
}

// dial opens a client connection that ends with the test.
func (r *rig) dial() *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///root", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.wire.DialContext(ctx) }))
	if err != nil {
		r.t.Fatal(err)
	}
	return conn
}

// bubble runs a test in virtual time. A root that stopped leaves timers of its
// connections, which end within the minute.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// pass lets virtual time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var _ linkv1.LinkServer = (*clusters.Server)(nil)

// r1 is the first slot of a service.
func r1(id model.ServiceID) model.InstanceID { return model.InstanceID{Service: id} }
