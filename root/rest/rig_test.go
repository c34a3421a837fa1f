package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"oakestra/pkg/core/address"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/session"
	"oakestra/root/auth"
	"oakestra/root/control"
	"oakestra/root/events"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
)

// rig is the whole API over a real store; only the tiers below are fakes.
type rig struct {
	t         *testing.T
	store     *boltstore.Store
	below     *fakeBelow
	addresses *fakeAddresses
	places    *fakePlaces
	journal   *events.Journal
	handler   http.Handler
	log       *logBuffer
	tokens    map[string]string // by user, once logged in
	mails     mailbox
	auth      *auth.Auth
}

func newRig(t *testing.T, change ...func(*Deps)) *rig {
	t.Helper()
	s, _, err := boltstore.Open(filepath.Join(t.TempDir(), "root.db"))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	for name, roles := range map[string][]string{
		"Admin": {auth.RoleAdmin, auth.RoleApplication}, "ida": {auth.RoleInfrastructure}, "ann": {auth.RoleApplication}, "bob": {auth.RoleApplication},
	} {
		must(t, s.Users().Put(t.Context(), store.User{
			ID: model.UserID("u-" + name), Name: name, PasswordHash: cheapHash("Admin"), Roles: roles, MustChangePassword: name == "Admin",
		}))
	}
	r := &rig{t: t, store: s, below: &fakeBelow{facts: map[model.InstanceID]control.InstanceView{}},
		addresses: &fakeAddresses{pool: address.NewServicePool()}, places: &fakePlaces{}, journal: events.NewJournal(nil), log: &logBuffer{}, tokens: map[string]string{}}
	logger := slog.New(slog.NewTextHandler(r.log, nil))
	must(t, auth.EnsureRoot(t.Context(), s))
	r.mails = make(mailbox, 8)
	a, err := auth.New(auth.Deps{Store: s, Key: bytes.Repeat([]byte("k"), auth.KeySize), Logger: logger, Mailer: r.mails, Pages: []string{"https://dash.example"}})
	must(t, err)
	r.auth = a
	r.journal.Begin(1)
	d := Deps{
		Control: control.New(control.Deps{Store: s, Addresses: r.addresses, Below: r.below, Places: r.places, Dialogs: r.places, Events: r.journal, Logger: logger}),
		Events:  r.journal,
		Auth:    a, Below: r.below, Logger: logger, Version: "test",
	}
	for _, f := range change {
		f(&d)
	}
	r.handler = New(d)
	return r
}

// cheapHash is a password record of low cost: the race detector makes the
// real one take a second.
func cheapHash(password string) string {
	salt := []byte("0123456789abcdef")
	sum := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=64,t=1,p=1$%s$%s", enc.EncodeToString(salt), enc.EncodeToString(sum))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// call sends a request as a user ("" for nobody). A body that is a string is
// sent as it is, anything else as JSON.
func (r *rig) call(user, method, path string, body any) answer {
	r.t.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		raw, err = json.Marshal(b)
		must(r.t, err)
	}
	req := httptest.NewRequest(method, path, bytes.NewReader(raw))
	req.RemoteAddr = "192.168.7.7:4711"
	if user != "" {
		req.Header.Set("Authorization", "Bearer "+r.token(user))
	}
	if strings.TrimSuffix(path, "/") == "/api/events" { // a stream ends when its caller hangs up
		ctx, hangUp := context.WithCancel(r.t.Context())
		hangUp()
		req = req.WithContext(ctx)
	}
	return r.do(req)
}

func (r *rig) do(req *http.Request) answer {
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return answer{w, r.t}
}

func (r *rig) token(user string) string {
	r.t.Helper()
	if r.tokens[user] == "" {
		var s struct{ Token string }
		r.call("", http.MethodPost, "/api/auth/login", map[string]string{"username": user, "password": "Admin"}).want(200).into(&s)
		r.tokens[user] = s.Token
	}
	return r.tokens[user]
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status is %d, want %d; body: %s", a.Code, status, a.Body)
	}
	if ct := a.Header().Get("Content-Type"); a.Body.Len() > 0 && !strings.HasPrefix(ct, "application/json") {
		a.t.Errorf("content type is %q, want JSON", ct)
	}
	return a
}

func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		a.t.Fatalf("%v in %s", err, a.Body)
	}
}

// problem is the part of an error body that tests look at.
type problem struct {
	Code            int
	Status, Message string
	Errors          []struct{ Path, Value, Message string }
}

// refused checks the body of an error.
func (a answer) refused(status int) problem {
	a.t.Helper()
	a.want(status)
	var p problem
	a.into(&p)
	if p.Code != status || p.Status != http.StatusText(status) || p.Message == "" {
		a.t.Errorf("error body is incomplete: %s", a.Body)
	}
	return p
}

func seedDescriptor(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/deploy_curl_application.json")
	must(t, err)
	return string(raw)
}

// seed posts the quick start's descriptor and returns the ids of the
// application and of its services by name.
func (r *rig) seed(user string) (app string, services map[string]string) {
	r.t.Helper()
	var apps []struct {
		ApplicationID string
		Microservices []string
	}
	r.call(user, http.MethodPost, "/api/application/", seedDescriptor(r.t)).want(200).into(&apps)
	app = apps[len(apps)-1].ApplicationID
	var list []struct {
		MicroserviceID   string
		MicroserviceName string `json:"microservice_name"`
	}
	r.call(user, http.MethodGet, "/api/services/"+app, nil).want(200).into(&list)
	services = map[string]string{}
	for _, s := range list {
		services[s.MicroserviceName] = s.MicroserviceID
	}
	return app, services
}

// fakeAddresses is the domain's pool behind a mutex.
type fakeAddresses struct {
	mu        sync.Mutex
	pool      *address.ServicePool
	cancelled []netip.Addr
}

func (f *fakeAddresses) PickService(_ context.Context, job string, chosen netip.Addr) (netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if chosen.IsValid() {
		return chosen, f.pool.Claim(chosen, job)
	}
	return f.pool.Next(job)
}

func (f *fakeAddresses) PickInstance(context.Context) (netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pool.Next("instance")
}

func (f *fakeAddresses) Cancel(a netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pool.Release(a)
	f.cancelled = append(f.cancelled, a)
}
func (f *fakeAddresses) Retire(a netip.Addr, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pool.Quarantine(a, until)
	f.cancelled = append(f.cancelled, a)
}

// fakeBelow answers what a test put in.
type fakeBelow struct {
	mu       sync.Mutex
	facts    map[model.InstanceID]control.InstanceView
	clusters []control.ClusterView
	nodes    []control.NodeView
	unknown  []control.UnknownView
	woken    []model.ServiceID
	waiting  []string
	recovers bool
}

func (f *fakeBelow) Facts(id model.InstanceID) (control.InstanceView, bool) {
	v, ok := f.facts[id]
	return v, ok
}
func (f *fakeBelow) Waits(model.InstanceID) (instance.Word, []instance.Reason) {
	return "", nil
}
func (f *fakeBelow) Clusters() []control.ClusterView             { return f.clusters }
func (f *fakeBelow) Refusals(model.InstanceID) []control.Refusal { return nil }
func (f *fakeBelow) Nodes() []control.NodeView                   { return f.nodes }
func (f *fakeBelow) Unknown() []control.UnknownView              { return f.unknown }
func (f *fakeBelow) Recovery() (bool, []string)                  { return f.recovers, f.waiting }
func (f *fakeBelow) AcceptRecovery(context.Context) error {
	f.recovers = false
	return nil
}

func (f *fakeBelow) Wake(id model.ServiceID, _ ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.woken = append(f.woken, id)
}

var seenAt = time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// mailbox hands mails to a test.
type mailbox chan string

func (m mailbox) Send(_ context.Context, to, subject, text string) error {
	m <- to + "\n" + subject + "\n" + text
	return nil
}

// logBuffer is a log that handlers and loops write at once.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) Len() int { return len(l.String()) }

func (l *logBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// fakePlaces answers what a test put in.
type fakePlaces struct {
	on      map[model.ClusterID]map[model.NodeID][]model.InstanceID
	moves   []control.Move
	said    string
	orphans []model.InstanceID
	err     error
	asked   []string
	dry     control.DryRun
	answers map[model.ClusterID]control.Answer
	attach  func(ctx context.Context) session.Conn
	ends    []control.Removal
}

func (f *fakePlaces) OrderNode(_ context.Context, cluster model.ClusterID, node model.NodeID, verb control.NodeVerb) (control.Ordered, error) {
	f.asked = append(f.asked, fmt.Sprintf("%s/%s %d", cluster, node, verb))
	return control.Ordered{Moves: f.moves, Said: f.said}, f.err
}

// Attach answers with what a test scripted.
func (f *fakePlaces) Attach(ctx context.Context, cluster model.ClusterID, id model.InstanceID, a control.Ask) (session.Conn, error) {
	f.asked = append(f.asked, fmt.Sprintf("%s %s %+v", cluster, id, a))
	if f.err != nil {
		return nil, f.err
	}
	if f.attach == nil {
		end := &instanceEnd{says: make(chan session.Frame, 3)}
		end.prints("a line\n", "another\n")
		end.says <- session.Frame{Kind: session.End}
		return end, nil
	}
	return f.attach(ctx), nil
}

func (f *fakePlaces) DryRun(context.Context, model.Service) (control.DryRun, error) {
	return f.dry, nil
}

func (f *fakePlaces) Ask(_ context.Context, id model.ClusterID, svc model.Service, most int) control.Answer {
	a, known := f.answers[id]
	if !known {
		return control.Answer{State: control.AnswerSilent}
	}
	a.Judged = a.Judged[:min(most, len(a.Judged))]
	return a
}

func (f *fakePlaces) Removals(context.Context) ([]control.Removal, error) { return f.ends, nil }

func (f *fakePlaces) RemoveCluster(_ context.Context, id model.ClusterID, force bool) ([]model.InstanceID, error) {
	f.asked = append(f.asked, fmt.Sprintf("%s %v", id, force))
	return f.orphans, f.err
}

func (f *fakePlaces) ApproveCluster(_ context.Context, id model.ClusterID) (string, error) {
	f.asked = append(f.asked, fmt.Sprintf("approve %s", id))
	return "192.0.2.7", f.err
}

func (f *fakePlaces) EndOrphan(_ context.Context, u control.UnknownView) error {
	f.asked = append(f.asked, fmt.Sprintf("end %s/%s %s %s %s", u.Cluster, u.Node, u.Instance, u.ServiceName, u.Epoch))
	return f.err
}

func (f *fakePlaces) On() map[model.ClusterID]map[model.NodeID][]model.InstanceID { return f.on }
