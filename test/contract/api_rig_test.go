package contract

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/argon2"

	"oakestra/pkg/core/model"
	"oakestra/pkg/testkit"
	"oakestra/root"
	"oakestra/root/auth"
	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

const password = "long enough"

// apiRig is a whole root on a loopback port, with accounts of every kind.
type apiRig struct {
	t       *testing.T
	address string
	key     []byte
	store   *boltstore.Store
	mails   mailbox
	client  *http.Client
	seq     atomic.Int64

	lab     string // id of the organization of owner and orgadmin
	callers []caller
	doc     document
	link    *fakeCluster // connected all the time, with the worker w1
	app     string       // of the owner, with one service that has instance 0
	service string
	reset   string // a token that is never used up
}

// caller is one kind of user, with every header such a one might send.
type caller struct {
	name    string
	tokens  []string // "" sends none; each of them is tried
	refresh string
	known   bool // is a user at all
}

// mailbox is a mail server; a test takes out what was sent.
type mailbox chan string

func (m mailbox) Send(_ context.Context, _, _, text string) error {
	m <- text
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cheapHash is a password record of low cost: the race detector makes the real
// one take a second.
func cheapHash() string {
	salt := []byte("0123456789abcdef")
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=64,t=1,p=1$%s$%s", enc.EncodeToString(salt), enc.EncodeToString(argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)))
}

// startRoot runs one; what the witness file remembers is given.
func startRoot(t *testing.T, remembers witness.Record) *apiRig {
	t.Helper()
	dir := t.TempDir()
	st, _, err := boltstore.Open(filepath.Join(dir, "root.db"))
	must(t, err)
	r := &apiRig{t: t, store: st, mails: make(mailbox, 8), lab: "aaaaaaaaaaaaaaaaaaaaaaaa", client: &http.Client{Transport: &http.Transport{}}}
	r.key, err = auth.LoadKey(filepath.Join(dir, "jwt.key"))
	must(t, err)
	memory, err := witness.Open(filepath.Join(dir, "witness.json"))
	must(t, err)
	if remembers.Incarnation > 0 {
		must(t, memory.Save(remembers))
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	r.address = ln.Addr().String()
	must(t, st.Organizations().Put(t.Context(), store.Organization{ID: r.lab, Name: "lab"}))
	r.user("Admin", "", auth.RoleAdmin, auth.RoleApplication)
	r.user("foreigner", "", auth.RoleApplication)
	r.user("owner", r.lab, auth.RoleApplication)
	r.user("orgadmin", r.lab, auth.RoleOrgAdmin)
	r.user("infra", "", auth.RoleInfrastructure)
	cfg := root.DefaultConfig()
	cfg.Listen, cfg.Data = r.address, dir
	d, err := root.New(cfg, root.Deps{Store: st, Witness: memory, Key: r.key, Listener: ln, Mailer: r.mails, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		must(t, st.Close())
	})
	testkit.Eventually(t, patience, func() error {
		if a := r.send(t, http.MethodGet, "/healthz", "", nil); a.code != http.StatusOK {
			return fmt.Errorf("healthz: %d", a.code)
		}
		return nil
	})
	return r
}

// user stores an account; its password is known.
func (r *apiRig) user(name, organization string, roles ...string) {
	r.t.Helper()
	u := store.User{ID: model.UserID(fmt.Sprintf("%024x", r.seq.Add(1))), Name: name, Email: name + "@example.org", PasswordHash: cheapHash(), Organization: organization}
	if organization == "" {
		u.Roles = roles
	} else {
		_, err := r.store.Organizations().Update(r.t.Context(), organization, func(o store.Organization) (store.Organization, error) {
			o.Members = append(o.Members, store.Member{User: u.ID, Roles: roles})
			return o, nil
		})
		must(r.t, err)
	}
	must(r.t, r.store.Users().Put(r.t.Context(), u))
}

// newUser is an account for one call.
func (r *apiRig) newUser() string {
	name := r.fresh("u")
	r.user(name, r.lab, auth.RoleApplication)
	return name
}

// fresh makes a name that nobody has.
func (r *apiRig) fresh(prefix string) string { return fmt.Sprintf("%s%d", prefix, r.seq.Add(1)) }

// login returns an access and a refresh token.
func (r *apiRig) login(user string) (access, refresh string) {
	r.t.Helper()
	var s struct {
		Token   string
		Refresh string `json:"refresh_token"`
	}
	r.good(http.MethodPost, "/api/auth/login", "", body{"username": user, "password": password}, &s)
	return s.Token, s.Refresh
}

// wrongKind is which of the wrong tokens is a refresh token.
const wrongKind = 3

// everyone logs everybody in and forges what the wrong ones send.
func (r *apiRig) everyone() {
	r.t.Helper()
	access, refresh := r.login("Admin")
	r.callers = []caller{
		{name: "anonymous", tokens: []string{""}},
		{name: "wrong", tokens: []string{"nonsense", r.forge(access, []byte(strings.Repeat("x", auth.KeySize)), false), r.forge(access, r.key, true), refresh, "oak_0123456789abcdef_0123"}},
	}
	for _, name := range []string{"foreigner", "owner", "orgadmin", "infra", "Admin"} {
		access, refresh := r.login(name)
		r.callers = append(r.callers, caller{name: name, tokens: []string{access}, refresh: refresh, known: true})
	}
}

// forge signs the claims of a token again, with another key or out of date.
func (r *apiRig) forge(token string, key []byte, expired bool) string {
	r.t.Helper()
	claims := jwt.MapClaims{}
	_, _, err := jwt.NewParser().ParseUnverified(token, claims)
	must(r.t, err)
	if expired {
		claims["exp"] = 1_600_000_000
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(key)
	must(r.t, err)
	return s
}

// token of one of the callers that are users.
func (r *apiRig) token(name string) string {
	for _, c := range r.callers {
		if c.name == name {
			return c.tokens[0]
		}
	}
	r.t.Fatalf("no caller is named %s", name)
	return ""
}

// body is a JSON object to send.
type body map[string]any

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// request makes one; a body that is a string is sent as it is.
func (r *apiRig) request(ctx context.Context, t *testing.T, method, path, token string, content any) *http.Request {
	t.Helper()
	raw, isText := content.(string)
	if content != nil && !isText {
		text, err := json.Marshal(content)
		must(t, err)
		raw = string(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.address+path, strings.NewReader(raw))
	must(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

func (r *apiRig) send(t *testing.T, method, path, token string, content any) answer {
	t.Helper()
	return r.do(t, r.request(t.Context(), t, method, path, token, content), nil)
}

// do sends a request. What never ends is read until enough says so, and then
// hung up on.
func (r *apiRig) do(t *testing.T, req *http.Request, enough func([]byte) bool) answer {
	t.Helper()
	ctx, hangUp := context.WithTimeout(req.Context(), patience)
	defer hangUp()
	resp, err := r.client.Do(req.WithContext(ctx))
	must(t, err)
	defer resp.Body.Close()
	a := answer{code: resp.StatusCode, header: resp.Header}
	if known, there := r.doc.operation(req.Method, req.URL.Path); there {
		if _, declared := known.Responses[strconv.Itoa(a.code)]; !declared {
			t.Errorf("%s %s is answered %d, which the document does not know", req.Method, req.URL.Path, a.code)
		}
	}
	if enough == nil || resp.StatusCode != http.StatusOK {
		a.body, err = io.ReadAll(resp.Body)
		must(t, err)
		return a
	}
	piece := make([]byte, 512)
	for !enough(a.body) {
		n, err := resp.Body.Read(piece)
		a.body = append(a.body, piece[:n]...)
		if err != nil {
			t.Fatalf("%s %s ended early: %v after %q", req.Method, req.URL.Path, err, a.body)
		}
	}
	return a
}

// good is a call that has to succeed.
func (r *apiRig) good(method, path, token string, content, into any) {
	r.t.Helper()
	a := r.send(r.t, method, path, token, content)
	if a.code != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", method, path, a.code, a.body)
	}
	if into != nil {
		a.into(r.t, into)
	}
}

// descriptor of one application with one service.
func descriptor(id, name string) body {
	return body{"sla_version": "v2.0", "customerID": "Admin", "applications": []body{{
		"applicationID": id, "application_name": name, "application_namespace": "test", "application_desc": "",
		"microservices": []body{service("svc")},
	}}}
}

func service(name string) body {
	return body{
		"microserviceID": "", "microservice_name": name, "microservice_namespace": "test", "virtualization": "container",
		"cmd": []string{"sh"}, "memory": 10, "vcpus": 1, "code": "docker.io/library/nginx:latest", "port": "6080:60/tcp",
	}
}

// newApp makes an application of the owner's with one service.
func (r *apiRig) newApp() (app, service string) {
	r.t.Helper()
	name := r.fresh("a")
	var list []struct {
		ApplicationID string
		Name          string `json:"application_name"`
		Microservices []string
	}
	r.good(http.MethodPost, "/api/application/", r.token("owner"), descriptor("", name), &list)
	for _, a := range list {
		if a.Name == name && len(a.Microservices) == 1 {
			return a.ApplicationID, a.Microservices[0]
		}
	}
	r.t.Fatalf("%s is not in %+v", name, list)
	return "", ""
}

// newService is one of the owner's with instance 0.
func (r *apiRig) newService() string {
	_, id := r.newApp()
	r.good(http.MethodPost, "/api/service/"+id+"/instance", r.token("owner"), nil, nil)
	return id
}

// mailed is the token in the mail that a user asked for.
func (r *apiRig) mailed(user string) string {
	r.t.Helper()
	r.good(http.MethodPost, "/api/user/", "", body{"username": user}, nil)
	select {
	case text := <-r.mails:
		for line := range bytes.Lines([]byte(text)) {
			if token, found := bytes.CutPrefix(line, []byte("  ")); found {
				return string(bytes.TrimSpace(token))
			}
		}
		r.t.Fatalf("no token in %q", text)
	case <-time.After(patience):
		r.t.Fatal("no mail came")
	}
	return ""
}
