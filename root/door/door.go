package door

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	wire "oakestra/api/rest"
)

const (
	dialTimeout = 2 * time.Second
	// retryAfter is what clients are told in seconds; a takeover takes 4 s.
	retryAfter = "1"
	// followEvery is how often the door looks who serves.
	followEvery = 250 * time.Millisecond
)

// forwarded marks a request that another system manager has passed on.
const forwarded = "X-Oakestra-Forwarded"

// Holder says where requests are served, and whether that is here.
type Holder func() (address string, term uint64, here bool)

// Deps of a Door. Holder is nil where there is only one system manager.
type Deps struct {
	Holder  Holder
	Logger  *slog.Logger
	Version string
}

// Door is an http.Handler for requests and an httpx.Stream for links.
type Door struct {
	deps  Deps
	log   *slog.Logger
	proxy *httputil.ReverseProxy

	stop  context.CancelFunc // ends every link
	alive context.Context
	links sync.WaitGroup

	mu     sync.Mutex // guards what follows
	inside *inside
	era    context.Context // of one holder elsewhere; what is forwarded ends with it
	end    context.CancelFunc
	target string
}

// inside is what answers while this process serves.
type inside struct {
	ctx     context.Context
	handler http.Handler
	links   *feed
}

// New is a closed door.
func New(d Deps) *Door {
	o := &Door{deps: d, log: d.Logger.With("part", "door")}
	o.alive, o.stop = context.WithCancel(context.Background())
	o.era, o.end = context.WithCancel(o.alive)
	o.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, FlushInterval: -1, ErrorHandler: o.unanswered,
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // the error handler tells
	}
	return o
}

type targetKey struct{}

// rewrite sends a request on as it came. Headers that tell where it comes from
// are kept and added to: they can only make a caller look more foreign.
func rewrite(p *httputil.ProxyRequest) {
	address, _ := p.In.Context().Value(targetKey{}).(string)
	p.SetURL(&url.URL{Scheme: "http", Host: address})
	p.Out.Host = p.In.Host
	for _, h := range []string{"Forwarded", "X-Forwarded-For"} {
		if v, has := p.In.Header[h]; has {
			p.Out.Header[h] = v
		}
	}
	p.SetXForwarded()
	p.Out.Header.Set(forwarded, "1")
}

// Open lets requests in until ctx ends or Shut is called, and returns the
// listener of cluster links.
func (o *Door) Open(ctx context.Context, handler http.Handler) net.Listener {
	in := &inside{ctx: ctx, handler: handler, links: newFeed()}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inside = in
	return in.links
}

// Shut keeps everybody out again. Requests that are inside end with the
// context given to Open.
func (o *Door) Shut() {
	o.mu.Lock()
	in := o.inside
	o.inside = nil
	o.mu.Unlock()
	if in != nil {
		_ = in.links.Close()
	}
}

// here is what answers, nil while this process does not serve.
func (o *Door) here() *inside {
	if o.deps.Holder != nil {
		if _, _, here := o.deps.Holder(); !here {
			return nil
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.inside
}

// there is who answers elsewhere, and how long that holds.
func (o *Door) there() (address string, era context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.target, o.era
}

// Run follows who serves, until ctx ends.
func (o *Door) Run(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	last := ""
	for {
		if o.deps.Holder != nil {
			address, term, here := o.deps.Holder()
			if here {
				address = ""
			}
			if now := fmt.Sprint(term, address); now != last {
				last = now
				o.turn(address)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// turn ends what is forwarded, and forwards to another one from now on.
func (o *Door) turn(address string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
	o.era, o.end = context.WithCancel(o.alive)
	o.target = address
}

// ServeHTTP answers here, or where the request is served.
func (o *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if in := o.here(); in != nil {
		if in.ctx.Done() == nil { // the only system manager: requests may always finish
			in.handler.ServeHTTP(w, r)
			return
		}
		ctx, cancel := within(r.Context(), in.ctx)
		defer cancel()
		in.handler.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	passedOn := r.Header.Get(forwarded) != ""
	if r.URL.Path == "/healthz" && !passedOn {
		o.answer(w, http.StatusOK, wire.Health{Status: "ok", Version: o.deps.Version})
		return
	}
	address, era := o.there()
	if address == "" || passedOn {
		o.closed(w)
		return
	}
	ctx, cancel := within(r.Context(), era)
	defer cancel()
	o.proxy.ServeHTTP(w, r.WithContext(context.WithValue(ctx, targetKey{}, address)))
}

// within is a context that ends with either.
func within(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

func (o *Door) closed(w http.ResponseWriter) {
	w.Header().Set("Retry-After", retryAfter)
	o.answer(w, http.StatusServiceUnavailable, wire.Error{
		Code: http.StatusServiceUnavailable, Status: http.StatusText(http.StatusServiceUnavailable),
		Message: "no system manager serves at the moment; one will within seconds, try again",
	})
}

func (o *Door) unanswered(w http.ResponseWriter, r *http.Request, err error) {
	o.log.Debug("a forwarded request was not answered", "path", r.URL.Path, "error", err)
	o.closed(w)
}

func (o *Door) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller is gone: nothing to tell
}
