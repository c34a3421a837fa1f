package rest

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"oakestra/pkg/errs"
	"oakestra/root/auth"
	"oakestra/root/control"
)

// keyIdentity is where middleware leaves who asks.
const keyIdentity = "oakestra.identity"

const headerRequest = "X-Request-Id"

// requestID takes the caller's id when it is a plain word, else makes one.
func requestID(c *gin.Context) {
	id := c.GetHeader(headerRequest)
	if !plainWord(id) {
		id = fmt.Sprintf("%016x", rand.Uint64()) // to tell requests apart; nothing rests on it
	}
	c.Writer.Header()[headerRequest] = []string{id}
}

func plainWord(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)) {
			return false
		}
	}
	return true
}

func idOf(c *gin.Context) string { return c.Writer.Header().Get(headerRequest) }

// audit writes one line per request that may change something, with who, what
// and how it ended. Bodies and queries are left out: they may hold secrets. A
// log or exec session that is refused has one, too; one that begins has lines of
// its own, see attach.
func (a *api) audit(c *gin.Context) {
	reads := false
	switch c.Request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if reads = true; c.GetHeader("Upgrade") == "" && !ofSession(c.FullPath()) {
			return
		}
	}
	start := time.Now()
	c.Next()
	if reads && c.Writer.Status() < http.StatusBadRequest {
		return
	}
	if !a.Logger.Enabled(c.Request.Context(), slog.LevelInfo) {
		return
	}
	who, token := "", ""
	if id, ok := identity(c); ok {
		who, token = id.Name, id.Token
	}
	a.Logger.Info("audit", "method", c.Request.Method, "path", c.Request.URL.Path, "status", c.Writer.Status(),
		"user", who, "token", token, "from", peer(c.Request).String(), "request", idOf(c), "took", time.Since(start))
}

// ofSession is true for the routes of logs and exec.
func ofSession(route string) bool {
	inside, found := strings.CutPrefix(route, "/api/service/:id/instance/:number/")
	inside = strings.TrimSuffix(inside, "/")
	return found && (inside == "logs" || inside == "exec")
}

// recoverPanic turns a panic into a 500 and a line with the stack.
func (a *api) recoverPanic(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		a.Logger.Error("handler panicked", "panic", fmt.Sprint(p), "path", c.Request.URL.Path,
			"request", idOf(c), "stack", string(debug.Stack()))
		if !c.Writer.Written() {
			a.fail(c, inClass(errs.Internal, "handler panicked"))
		}
		c.Abort()
	}()
	c.Next()
}

// bearer lets only holders of an access token or an API token pass.
func (a *api) bearer(c *gin.Context) {
	token, err := bearerToken(c.Request)
	if err != nil {
		a.fail(c, err)
		return
	}
	id, err := a.Auth.Verify(c.Request.Context(), token)
	if err != nil {
		a.fail(c, err)
		return
	}
	c.Set(keyIdentity, id)
}

// bearerProtocol begins the subprotocol that carries a token: a page in a
// browser cannot give a WebSocket a header. No other page's script can set it
// either, for it has no token.
const bearerProtocol = "bearer."

func bearerToken(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" && r.Header.Get("Upgrade") != "" {
		for p := range strings.SplitSeq(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",") {
			if rest, found := strings.CutPrefix(strings.TrimSpace(p), bearerProtocol); found {
				scheme, token = "Bearer", rest
			}
		}
	}
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", inClass(errs.Unauthenticated, `Missing authentication token: send the header "Authorization: Bearer <token>"`)
	}
	return token, nil
}

func identity(c *gin.Context) (auth.Identity, bool) {
	v, _ := c.Get(keyIdentity)
	id, ok := v.(auth.Identity)
	return id, ok
}

// caller is for handlers behind bearer.
func caller(c *gin.Context) control.Caller {
	id, _ := identity(c)
	return control.Caller{Name: id.Name, Admin: id.Admin()}
}

// peer is where a request comes from. Behind a proxy the connection says
// nothing, and a forwarding header may be forged; so it can only make a
// request look more foreign, never more local.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := ap.Addr().Unmap()
	if !auth.Local(from) {
		return from
	}
	for _, line := range append(r.Header.Values("X-Forwarded-For"), r.Header.Values("X-Real-Ip")...) {
		for hop := range strings.SplitSeq(line, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				return netip.Addr{} // unreadable: not local
			}
			if !auth.Local(a) {
				return a.Unmap()
			}
		}
	}
	if r.Header.Get("Forwarded") != "" {
		return netip.Addr{}
	}
	return from
}
