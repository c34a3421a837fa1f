package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/session"
	"oakestra/pkg/testkit"
	"oakestra/root/auth"
	"oakestra/root/control"
	"oakestra/root/store"
)

// instanceEnd is the far end of a session: what an instance says, and hears.
type instanceEnd struct {
	says, hears chan session.Frame
	ctx         context.Context // of the session
}

func (e *instanceEnd) Send(ctx context.Context, f session.Frame) error {
	f.Data = append([]byte(nil), f.Data...)
	select {
	case e.hears <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *instanceEnd) Recv(ctx context.Context) (session.Frame, error) {
	select {
	case f := <-e.says:
		return f, nil
	case <-ctx.Done():
		return session.Frame{}, ctx.Err()
	}
}

// serves makes an instance of nginx that answers sessions, and returns its path.
func (r *rig) serves(owner string) (path string, end *instanceEnd) {
	r.t.Helper()
	_, services := r.seed(owner)
	id := services["nginx"]
	r.call(owner, http.MethodPost, "/api/service/"+id+"/instance", nil).want(200)
	_, err := r.store.Instances().Update(r.t.Context(), model.InstanceID{Service: model.ServiceID(id)}, func(in store.Instance) (store.Instance, error) {
		in.Grant, in.Cluster = 1, "c1"
		return in, nil
	})
	must(r.t, err)
	end = &instanceEnd{says: make(chan session.Frame, 64), hears: make(chan session.Frame, 64)}
	r.places.attach = func(ctx context.Context) session.Conn {
		end.ctx = ctx
		return end
	}
	return "/api/service/" + id + "/instance/0", end
}

func (e *instanceEnd) prints(texts ...string) {
	for _, s := range texts {
		e.says <- session.Frame{Kind: session.Stdout, Data: []byte(s)}
	}
}

func TestLogsOverHTTP(t *testing.T) {
	r := newRig(t)
	path, end := r.serves("ann")
	end.prints("one\n", "two\n")
	end.says <- session.Frame{Kind: session.End}
	a := r.call("ann", http.MethodGet, path+"/logs", nil)
	h := a.Result()
	if a.Code != 200 || a.Body.String() != "one\ntwo\n" || h.Header.Get("Content-Type") != "text/plain; charset=utf-8" || h.Header.Get("X-Content-Type-Options") != "nosniff" || h.Trailer.Get(wire.HeaderEnd) != "" {
		t.Errorf("%d %q %v %v", a.Code, a.Body, h.Header, h.Trailer)
	}
	end.prints("three")
	end.says <- session.EndWith(fmt.Errorf("worker w1 is lost: %w", errs.Unavailable))
	a = r.call("Admin", http.MethodGet, path+"/logs/?follow=true&tail=7&since=10m", nil)
	if got := a.Result().Trailer.Get(wire.HeaderEnd); a.Code != 200 || got != "worker w1 is lost" || a.Body.String() != "three" {
		t.Errorf("%d %q %q", a.Code, a.Body, got)
	}
	if want := "Follow:true Tail:7 Since:10m0s"; len(r.places.asked) != 2 || !strings.Contains(r.places.asked[1], want) || !strings.HasPrefix(r.places.asked[1], "c1 ") {
		t.Errorf("asked %q", r.places.asked)
	}
	end.says <- session.Frame{Kind: session.End}
	r.call("ann", http.MethodGet, path+"/logs?since="+url.QueryEscape(time.Now().Add(-time.Hour).Format(time.RFC3339)), nil)
	if got := r.places.asked[2]; !strings.Contains(got, "Since:1h0m0.") && !strings.Contains(got, "Since:59m59.") && !strings.Contains(got, "Since:1h0m1.") {
		t.Errorf("asked %q", got)
	}
	for query, at := range map[string]string{"tail=0": "tail", "tail=x": "tail", "since=-1s": "since", "since=soon": "since", "follow=perhaps": "follow"} {
		if p := r.call("ann", http.MethodGet, path+"/logs?"+query, nil).refused(422); len(p.Errors) != 1 || p.Errors[0].Path != at {
			t.Errorf("%s: %+v", query, p)
		}
	}
	r.call("bob", http.MethodGet, path+"/logs", nil).refused(404)
	for _, wrong := range []string{"/../1/logs", "/../x/logs", "/../-1/logs"} {
		r.call("ann", http.MethodGet, strings.Replace(path+wrong, "/0/..", "", 1), nil).refused(404)
	}
	for status, class := range map[int]error{409: errs.Conflict, 503: errs.Unavailable, 404: errs.NotFound} {
		r.places.err = fmt.Errorf("worker w1 says no: %w", class)
		if p := r.call("ann", http.MethodGet, path+"/logs", nil).refused(status); !strings.Contains(p.Message, "worker w1 says no") {
			t.Errorf("%+v", p)
		}
	}
}

func TestAnInstanceWithoutAClusterHasNoSession(t *testing.T) {
	r := newRig(t)
	_, services := r.seed("ann")
	r.call("ann", http.MethodPost, "/api/service/"+services["curl"]+"/instance", nil).want(200)
	if p := r.call("ann", http.MethodGet, "/api/service/"+services["curl"]+"/instance/0/logs", nil).refused(409); !strings.Contains(p.Message, "no cluster yet: ") || strings.HasSuffix(p.Message, "yet: ") {
		t.Errorf("%+v", p)
	}
	r.call("ann", http.MethodDelete, "/api/service/"+services["curl"]+"/instance/0", nil).want(200)
	r.call("ann", http.MethodGet, "/api/service/"+services["curl"]+"/instance/0/logs", nil).refused(404)
}

// What is to be waited for is said where a session was asked for, too.
func TestASessionWithoutAWorkerSaysWhy(t *testing.T) {
	r := newRig(t)
	path, _ := r.serves("ann")
	r.places.err = fmt.Errorf("instance 0 is on no worker yet: %w", errs.Conflict)
	detail := r.call("ann", http.MethodGet, strings.Split(path, "/instance/")[0], nil)
	var v wire.Service
	must(t, json.Unmarshal(detail.Body.Bytes(), &v))
	why := v.Instances[0].StatusDetail
	if p := r.call("ann", http.MethodGet, path+"/logs", nil).refused(409); why == "" || p.Message != "instance 0 is on no worker yet: "+why {
		t.Errorf("%+v, and the service says %q", p, why)
	}
	id := model.InstanceID{Service: model.ServiceID(strings.Split(path, "/")[3])}
	r.below.facts[id] = control.InstanceView{Placement: instance.Placement{Verdict: instance.Placed, Node: "w1"}}
	r.places.err = fmt.Errorf("instance 0 has ended: dead, exit code 137: %w", errs.Conflict)
	if p := r.call("ann", http.MethodGet, path+"/logs", nil).refused(409); p.Message != "instance 0 has ended: dead, exit code 137" {
		t.Errorf("%+v", p)
	}
}

// One user cannot take the places of all.
func TestSessionsOfAUserAreBounded(t *testing.T) {
	r := newRig(t)
	path, _ := r.serves("ann")
	id := model.InstanceID{Service: model.ServiceID(strings.Split(path, "/")[3])}
	c := control.New(control.Deps{Store: r.store, Addresses: r.addresses, Below: r.below, Places: r.places, Dialogs: r.places})
	ann, admin := control.Caller{Name: "ann"}, control.Caller{Name: "Admin", Admin: true}
	open := func(who control.Caller, node string, want string) (end func()) {
		t.Helper()
		r.below.facts[id] = control.InstanceView{Placement: instance.Placement{Verdict: instance.Placed, Node: model.NodeID(node)}}
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		_, err := c.Attach(ctx, who, id, control.Ask{Kind: control.Logs})
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%s at %s: %v, want %q", who.Name, node, err, want)
		}
		return cancel
	}
	var last func()
	for _, node := range []string{"w1", "w2", "w3", "w4"} {
		for range 16 {
			last = open(ann, node, "")
		}
		if node != "w4" {
			open(ann, node, "16 log and exec sessions with worker "+node)
		}
	}
	open(ann, "w5", "you have 64")
	open(admin, "w1", "")
	open(admin, "w5", "")
	last()
	testkit.Eventually(t, 20*time.Second, func() error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := c.Attach(ctx, ann, id, control.Ask{Kind: control.Logs})
		return err
	})
	r.places.err = errs.Conflict // one that does not begin takes no place
	for range 100 {
		if _, err := c.Attach(t.Context(), admin, id, control.Ask{Kind: control.Exec}); !errors.Is(err, errs.Conflict) {
			t.Fatal(err)
		}
	}
}

// Who may only read sees logs, and runs nothing.
func TestExecNeedsMoreThanReading(t *testing.T) {
	r := newRig(t)
	path, end := r.serves("ann")
	r.key("ann", "reader", auth.ScopeRead)
	end.says <- session.Frame{Kind: session.End}
	if a := r.call("reader", http.MethodGet, path+"/logs", nil); a.Code != 200 {
		t.Errorf("logs: %d %s", a.Code, a.Body)
	}
	if p := r.call("reader", http.MethodGet, path+"/exec?command=ls", nil).refused(403); !strings.Contains(p.Message, "scope deploy") {
		t.Errorf("%+v", p)
	}
	if p := r.call("ida", http.MethodGet, path+"/exec?command=ls", nil).refused(403); !strings.Contains(p.Message, auth.RoleApplication) {
		t.Errorf("%+v", p)
	}
	p := r.call("ann", http.MethodGet, path+"/exec?columns=x&tty=2", nil).refused(422)
	var wrong []string
	for _, e := range p.Errors {
		wrong = append(wrong, e.Path)
	}
	if got := strings.Join(wrong, " "); got != "tty command columns Upgrade" {
		t.Errorf("wrong are %s", got)
	}
	for _, long := range []string{strings.Repeat("&command=x", 257), "&command=" + strings.Repeat("x", 65<<10)} {
		if a := r.call("ann", http.MethodGet, path+"/exec?tty=1"+long, nil); a.Code != 422 {
			t.Errorf("%d bytes: %d", len(long), a.Code)
		}
	}
}

// A command that is refused is in the audit, once, whoever refuses it.
func TestARefusedExecIsInTheAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		path, _ := w.serves("ann")
		for user, status := range map[string]int{"ida": 403, "bob": 404, "ann": 503} {
			w.token(user)
			w.log.Reset()
			w.places.err = fmt.Errorf("worker w1 is lost: %w", errs.Unavailable)
			_, err := w.dials(user, path+"/exec?command=secret")
			var refused *session.Refused
			if !errors.As(err, &refused) || refused.Status != status {
				t.Errorf("%s: %v", user, err)
			}
			synctest.Wait()
			if text := w.log.String(); strings.Count(text, "msg=audit") != 1 || !strings.Contains(text, fmt.Sprintf("status=%d user=%s", status, user)) || strings.Contains(text, "secret") {
				t.Errorf("%s: %s", user, text)
			}
		}
	})
}

// So are logs, also for who has not said who it is.
func TestRefusedLogsAreInTheAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		path, end := w.serves("ann")
		for _, c := range []struct {
			user, query string
			status      int
		}{{"bob", "", 404}, {"ann", "?tail=0", 422}, {"ann", "", 503}, {"", "", 401}} {
			if c.user != "" {
				w.token(c.user)
			}
			w.log.Reset()
			w.places.err = fmt.Errorf("worker w1 is lost: %w", errs.Unavailable)
			w.call(c.user, http.MethodGet, path+"/logs"+c.query, nil).refused(c.status)
			if text := w.log.String(); strings.Count(text, "msg=audit") != 1 || !strings.Contains(text, fmt.Sprintf("path=%s/logs status=%d user=%s", path, c.status, c.user)) || strings.Contains(text, "tail") {
				t.Errorf("%+v: %s", c, text)
			}
		}
		w.places.err = nil
		w.log.Reset()
		end.says <- session.Frame{Kind: session.End}
		w.call("ann", http.MethodGet, path+"/logs", nil).want(200)
		if text := w.log.String(); strings.Count(text, "msg=audit") != 2 {
			t.Errorf("one that is answered: %s", text)
		}
	})
}

// A command does not run for a handshake that is refused.
func TestAHandshakeIsCheckedBeforeTheCommandRuns(t *testing.T) {
	r := newRig(t, func(d *Deps) { d.Origins = []string{"https://dash.example"} })
	path, _ := r.serves("ann")
	for name, status := range map[string]int{"Upgrade": 422, "Connection": 422, "Sec-WebSocket-Version": 422, "Sec-WebSocket-Key": 422, "Origin": 403} {
		h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OTAxMjM0NQ=="}}
		h.Set(name, "https://evil.example")
		h.Set("Authorization", "Bearer "+r.token("ann"))
		req := httptest.NewRequest(http.MethodGet, path+"/exec?command=ls", nil)
		req.Header = h
		p := r.do(req).refused(status)
		if status == 422 && (len(p.Errors) != 1 || p.Errors[0].Path != name) || status == 403 && !strings.Contains(p.Message, "evil.example") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if len(r.places.asked) != 0 {
		t.Errorf("it ran: %q", r.places.asked)
	}
}

// dials opens a WebSocket as a user.
func (w *web) dials(user, path string) (*session.Socket, error) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		mine, its := net.Pipe()
		w.pipes.conns <- its
		return mine, nil
	}}}
	return session.Dial(w.t.Context(), "ws://root"+path, http.Header{"Authorization": {"Bearer " + w.token(user)}}, client)
}

func TestExecOverAWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		path, end := w.serves("ann")
		sock, err := w.dials("ann", path+"/exec?command=/bin/sh&command=-c&command=secret&stdin=true&tty=1&columns=80&rows=24")
		must(t, err)
		defer sock.Close()
		if got := w.places.asked[0]; !strings.Contains(got, "Kind:exec") || !strings.Contains(got, "Command:[/bin/sh -c secret] Stdin:true TTY:true Columns:80 Rows:24") {
			t.Errorf("asked %s", got)
		}
		must(t, sock.Send(t.Context(), session.Frame{Kind: session.Stdin, Data: []byte("typed")}))
		if f := <-end.hears; string(f.Data) != "typed" {
			t.Errorf("%+v", f)
		}
		end.says <- session.Frame{Kind: session.Stderr, Data: []byte("hidden")}
		end.says <- session.Frame{Kind: session.End, Exit: 4}
		if f, err := sock.Recv(t.Context()); err != nil || f.Kind != session.Stderr || string(f.Data) != "hidden" {
			t.Error(f, err)
		}
		if f, err := sock.Recv(t.Context()); err != nil || f.Kind != session.End || f.Exit != 4 {
			t.Error(f, err)
		}
		if _, err := sock.Recv(t.Context()); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		synctest.Wait()
		lines := w.log.String()
		for _, want := range []string{"action=exec", "path=" + path + "/exec", "user=ann", "program=sh", "event=begin", "event=end", "exit_code=4"} {
			if !strings.Contains(lines, want) {
				t.Errorf("the audit has no %s: %s", want, lines)
			}
		}
		for _, secret := range []string{"secret", "typed", "hidden"} {
			if strings.Contains(lines, secret) {
				t.Errorf("the audit has %q: %s", secret, lines)
			}
		}
		if end.ctx.Err() == nil {
			t.Error("the session goes on")
		}
	})
}

// A page in a browser can set no header, and says its token as a subprotocol.
func TestExecFromAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		path, end := w.serves("ann")
		asks := func(protocol, origin string) (status int, chosen string) {
			mine, its := net.Pipe()
			w.pipes.conns <- its
			t.Cleanup(func() { _ = mine.Close() })
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://root"+path+"/exec?command=sh", nil)
			must(t, err)
			for name, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
				"Sec-WebSocket-Protocol": protocol, "Origin": origin} {
				req.Header.Set(name, v)
			}
			must(t, req.Write(mine))
			resp, err := http.ReadResponse(bufio.NewReader(mine), req)
			must(t, err)
			_ = resp.Body.Close()
			return resp.StatusCode, resp.Header.Get("Sec-WebSocket-Protocol")
		}
		token := w.token("ann")
		if status, chosen := asks(session.Subprotocol+", bearer."+token, "https://dash.example"); status != http.StatusSwitchingProtocols || chosen != session.Subprotocol {
			t.Errorf("%d %q", status, chosen)
		}
		for _, p := range []string{session.Subprotocol, session.Subprotocol + ", bearer.nonsense", "bearer."} {
			if status, _ := asks(p, "https://dash.example"); status != http.StatusUnauthorized {
				t.Errorf("%q: %d", p, status)
			}
		}
		if strings.Contains(w.log.String(), token) {
			t.Error("the log holds the token")
		}
		end.says <- session.Frame{Kind: session.End}
	})
}

// A session outlives its access token, and ends with its login, its role, its
// user, or for want of use.
func TestHowAnExecEnds(t *testing.T) {
	for word, end := range map[string]func(w *web, sock *session.Socket){
		"the user may not go on": func(w *web, _ *session.Socket) {
			_, err := w.store.Users().Update(w.t.Context(), "ann", func(u store.User) (store.User, error) {
				u.Roles = nil
				return u, nil
			})
			must(w.t, err)
		},
		"nothing was typed or written for 1h": func(*web, *session.Socket) {},
		"":                                    func(_ *web, sock *session.Socket) { sock.Close() },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWeb(t)
			path, far := w.serves("ann")
			sock, err := w.dials("ann", path+"/exec?command=sh&stdin=1")
			must(t, err)
			defer sock.Close()
			ended := make(chan session.Frame, 1)
			go func() {
				f, _ := sock.Recv(t.Context())
				ended <- f
			}()
			time.Sleep(40 * time.Minute) // longer than an access token lives
			synctest.Wait()
			select {
			case f := <-ended:
				t.Errorf("it ended: %+v", f)
			default:
			}
			end(w, sock)
			f := <-ended
			if !strings.Contains(f.Message, word) {
				t.Errorf("%q: %+v", word, f)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if far.ctx.Err() == nil {
				t.Errorf("%q: the session goes on", word)
			}
		})
	}
}

func TestALogoutEndsAnExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		path, _ := w.serves("ann")
		sock, err := w.dials("ann", path+"/exec?command=sh&stdin=1")
		must(t, err)
		defer sock.Close()
		began := time.Now()
		w.call("ann", http.MethodPost, "/api/auth/logout", nil).want(200)
		f, err := sock.Recv(t.Context())
		if err != nil || f.Message != "the user may not go on" || f.Class != "forbidden" || time.Since(began) > mayStay {
			t.Errorf("%+v %v after %s", f, err, time.Since(began))
		}
	})
}

// A reader that takes nothing is cut some time, and holds nothing until then.
func TestALogWithoutAReaderEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		path, end := w.serves("ann")
		token := w.token("ann")
		mine, its := net.Pipe()
		w.pipes.conns <- its
		defer mine.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://root"+path+"/logs?follow=1", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		must(t, req.Write(mine))
		end.prints("first\n")
		resp, err := http.ReadResponse(bufio.NewReader(mine), req)
		must(t, err)
		defer resp.Body.Close()
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "first\n" {
			t.Fatal(line, err)
		}
		go func() {
			for range 64 {
				end.prints(strings.Repeat("x", session.Chunk))
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if end.ctx.Err() != nil || len(end.says) < 60 {
			t.Errorf("after a minute: %v, %d frames wait", end.ctx.Err(), len(end.says))
		}
		time.Sleep(session.Stall)
		synctest.Wait()
		if end.ctx.Err() == nil {
			t.Error("the session goes on")
		}
	})
}
