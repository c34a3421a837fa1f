package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/session"
	"oakestra/root/auth"
	"oakestra/root/control"
	"oakestra/root/events"
)

const (
	// mayStay is how often it is asked whether the user may still be there.
	mayStay = 15 * time.Second
	// idleExec ends a command that nobody uses: nothing flows either way.
	idleExec = time.Hour
	// farewell is how long a user may take to hear the end.
	farewell = 5 * time.Second
	// Bounds of one command. As a part of the URL it has to fit into the header,
	// too, of which pkg/httpx takes 64 KiB.
	mostArguments = 256
	mostCommand   = 60 << 10
)

// logs sends the output of an instance.
//
//	@summary		Read what an instance has written
//	@description	The output (stdout and stderr in one) that the worker keeps of the present run of the instance, also after its end: about 8 to 16 MiB. With follow=true the answer goes on until the container ends. How it ended stands in the trailer Oakestra-End, which is empty when nothing went wrong. Of an instance on an original agent only the last 1024 bytes are known.
//	@tags			instances
//	@produce		plain
//	@security		Bearer
//	@param			id		path		string	true	"service id"
//	@param			number	path		int		true	"instance number"
//	@param			follow	query		bool	false	"go on as it writes"
//	@param			tail	query		int		false	"only the last so many lines"
//	@param			since	query		string	false	"only what is younger: a duration such as 10m, or a time as in RFC 3339; exact to some seconds"
//	@success		200		{string}	string	"the output"
//	@failure		401		{object}	wire.Error
//	@failure		404		{object}	wire.Error	"no such instance, or nothing is kept of its output"
//	@failure		409		{object}	wire.Error	"it has no worker yet, or cluster or worker are too old"
//	@failure		422		{object}	wire.Error
//	@failure		503		{object}	wire.Error	"cluster or worker do not answer, or serve too many sessions"
//	@router			/api/service/{id}/instance/{number}/logs [get]
func (a *api) logs(c *gin.Context) {
	var ask control.Ask
	err := a.mayAttach(c)
	if err == nil {
		ask, err = logsFrom(c, time.Now())
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	a.attach(c, ask, func(ctx context.Context, conn session.Conn) session.Frame {
		h := c.Writer.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		h.Set("Trailer", wire.HeaderEnd)
		c.Writer.WriteHeader(http.StatusOK)
		end := copyOutput(ctx, conn, c.Writer)
		h.Set(wire.HeaderEnd, end.Message)
		return end
	})
}

// copyOutput writes what comes until the end. The reader sets the pace, and is
// cut when it takes nothing for long.
func copyOutput(ctx context.Context, conn session.Conn, w http.ResponseWriter) session.Frame {
	out := http.NewResponseController(w)
	defer func() { _ = out.SetWriteDeadline(time.Time{}) }() // recorders of tests have none
	_ = out.Flush()
	for {
		f, err := conn.Recv(ctx)
		if err != nil {
			return session.EndWith(cause(ctx))
		}
		if f.Kind == session.End {
			return f
		}
		_ = out.SetWriteDeadline(time.Now().Add(session.Stall))
		if _, err := w.Write(f.Data); err != nil {
			return session.EndWith(errReaderGone)
		}
		if err := out.Flush(); err != nil {
			return session.EndWith(errReaderGone)
		}
	}
}

// exec runs a command in an instance.
//
//	@summary		Run a command in an instance
//	@description	A WebSocket with the subprotocol session.oakestra.v1. Every message is binary: one byte that says what follows, then that. To the command: 0 input, 4 size of the terminal as JSON {"columns":80,"rows":24}, 255 end of the input. From it: 1 output, 2 error output, and at the end 3 with JSON {"exit_code":0,"error_class":"","message":""}. The command is killed when the connection ends. A page in a browser, which cannot set a header, sends its token as one more subprotocol, bearer.<token>. What is wrong before it runs is a plain answer, and nothing has run then. The arguments are a part of the URL, which proxies may log, and which together with the header may have 64 KiB.
//	@tags			instances
//	@produce		json
//	@security		Bearer
//	@param			id		path		string		true	"service id"
//	@param			number	path		int			true	"instance number"
//	@param			command	query		[]string	true	"program and arguments, each as a parameter of its own"	collectionFormat(multi)
//	@param			stdin	query		bool		false	"the command has an input"
//	@param			tty		query		bool		false	"the command has a terminal"
//	@param			columns	query		int			false	"of the terminal"
//	@param			rows	query		int			false	"of the terminal"
//	@success		101		{string}	string		"the session begins"
//	@failure		401		{object}	wire.Error
//	@failure		403		{object}	wire.Error	"needs the role Admin or Application_Provider, or the page that asks is of another origin"
//	@failure		404		{object}	wire.Error	"no such instance, or no such program in it"
//	@failure		409		{object}	wire.Error	"it does not run, or cluster or worker are too old"
//	@failure		422		{object}	wire.Error	"a parameter is wrong, or it is no handshake of a WebSocket of version 13"
//	@failure		503		{object}	wire.Error	"cluster or worker do not answer, or serve too many sessions"
//	@router			/api/service/{id}/instance/{number}/exec [get]
func (a *api) exec(c *gin.Context) {
	var ask control.Ask
	err := a.mayAttach(c)
	if err == nil {
		ask, err = execFrom(c)
	}
	if err == nil {
		err = session.MayOpen(c.Request, a.pages())
	}
	if err != nil {
		a.fail(c, err)
		return
	}
	a.attach(c, ask, func(ctx context.Context, conn session.Conn) session.Frame {
		sock, err := session.Accept(c.Writer, c.Request, a.pages())
		if err != nil {
			return session.EndWith(err)
		}
		defer sock.Close()
		return converse(ctx, sock, conn)
	})
}

// pages that may open a WebSocket; nil for all.
func (a *api) pages() []string {
	if slices.Contains(a.Origins, "*") {
		return nil
	}
	return a.Origins
}

// converse relays until the command ends, the user goes, or ctx ends.
func converse(ctx context.Context, sock *session.Socket, conn session.Conn) session.Frame {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	user := &heard{Conn: sock, idle: time.AfterFunc(idleExec, func() { cancel(errIdle) })}
	defer user.idle.Stop()
	go sock.Watch(ctx, func() { cancel(errReaderGone) })
	// The socket closes when a context ends that it reads or writes with; the
	// user is to hear why before.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	answers := make(chan session.Frame, 1)
	go func() {
		for {
			f, err := user.Recv(inner)
			if err != nil || conn.Send(inner, f) != nil {
				cancel(errReaderGone)
				return
			}
		}
	}()
	go func() { answers <- pass(ctx, inner, user, conn) }()
	var end session.Frame
	select {
	case end = <-answers:
	case <-ctx.Done():
		end = session.EndWith(cause(ctx))
	}
	last, over := context.WithTimeout(inner, farewell)
	defer over()
	if end.Message != errReaderGone.Error() && sock.Send(last, end) == nil {
		sock.Finish()
	}
	return end
}

// cause is why a session was ended from this side.
func cause(ctx context.Context) error {
	if why := context.Cause(ctx); !errors.Is(why, context.Canceled) {
		return why
	}
	return errReaderGone
}

// pass hands the command's output on, and returns its end.
func pass(ctx, writing context.Context, to, from session.Conn) session.Frame {
	for {
		f, err := from.Recv(ctx)
		switch {
		case err != nil:
			return session.EndWith(cause(ctx))
		case f.Kind == session.End:
			return f
		}
		if to.Send(writing, f) != nil {
			return session.EndWith(errReaderGone)
		}
	}
}

// heard puts off the end of a session that nobody uses.
type heard struct {
	session.Conn
	idle *time.Timer
}

// Send counts as use.
func (h *heard) Send(ctx context.Context, f session.Frame) error {
	h.idle.Reset(idleExec)
	return h.Conn.Send(ctx, f)
}

// Recv counts as use.
func (h *heard) Recv(ctx context.Context) (session.Frame, error) {
	f, err := h.Conn.Recv(ctx)
	h.idle.Reset(idleExec)
	return f, err
}

var (
	errReaderGone = fmt.Errorf("the user is gone")
	errIdle       = fmt.Errorf("nothing was typed or written for %s: %w", idleExec, errs.Unavailable)
	errStopping   = fmt.Errorf("the system manager stops: %w", errs.Unavailable)
	errNotAllowed = fmt.Errorf("the user may not go on: %w", errs.Forbidden)
)

// attach opens a session and runs serve on it, with a line for the audit before
// and after; see audit for one that is refused. It ends when the user goes, is not allowed any more, or the root
// stops.
func (a *api) attach(c *gin.Context, ask control.Ask, serve func(context.Context, session.Conn) session.Frame) {
	id, err := model.ParseInstanceID(c.Param("id") + "/" + c.Param("number"))
	if err != nil {
		a.fail(c, inClass(errs.NotFound, "instance %q", c.Param("number")))
		return
	}
	ctx, cancel := context.WithCancelCause(c.Request.Context())
	defer cancel(nil)
	line := a.auditLine(c, ask)
	conn, err := a.Control.Attach(ctx, caller(c), id, ask)
	if err != nil {
		a.fail(c, err) // for which audit has a line
		return
	}
	line.Info("audit", "event", "begin")
	start := time.Now()
	go a.mayStay(ctx, tokenOf(c), ask, start, cancel)
	end := serve(ctx, conn)
	line.Info("audit", "event", "end", "exit_code", end.Exit, "reason", end.Message, "took", time.Since(start))
}

// mayAttach is NotFound for what is another user's, or never was.
func (a *api) mayAttach(c *gin.Context) error {
	return a.Control.MayWatch(c.Request.Context(), caller(c), events.Instance, c.Param("id")+"/"+c.Param("number"))
}

// auditLine says who does what. Of a command it names the program: arguments
// may hold secrets.
func (a *api) auditLine(c *gin.Context, ask control.Ask) *slog.Logger {
	id, _ := identity(c)
	log := a.Logger.With("action", string(ask.Kind), "path", c.Request.URL.Path, "user", id.Name, "token", id.Token,
		"from", peer(c.Request).String(), "request", idOf(c))
	if len(ask.Command) > 0 {
		log = log.With("program", path.Base(ask.Command[0]))
	}
	return log
}

// mayStay ends a session whose user has logged out, is gone, or has lost the
// role. That an access token has expired is no reason.
func (a *api) mayStay(ctx context.Context, token string, ask control.Ask, began time.Time, end context.CancelCauseFunc) {
	tick := time.NewTicker(mayStay)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.stopping():
			end(errStopping)
			return
		case <-tick.C:
		}
		id, err := a.Auth.Lasts(ctx, token, began)
		if err == nil && (ask.Kind != control.Exec || id.Has(auth.RoleAdmin) || id.Has(auth.RoleApplication)) {
			continue
		}
		if err == nil || statusOf(err) == http.StatusUnauthorized { // a store that is away proves nothing
			end(errNotAllowed)
			return
		}
	}
}

// logsFrom reads what is asked for.
func logsFrom(c *gin.Context, now time.Time) (control.Ask, error) {
	ask, p := control.Ask{Kind: control.Logs}, errs.Problems{}
	ask.Follow = truth(c, "follow", &p)
	if text := c.Query("tail"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			p = append(p, errs.Problem{Path: "tail", Value: text, Message: "want a number of lines from 1 on"})
		}
		ask.Tail = n
	}
	if text := c.Query("since"); text != "" {
		since, err := time.ParseDuration(text)
		if at, wrong := time.Parse(time.RFC3339, text); wrong == nil {
			since, err = max(now.Sub(at), time.Millisecond), nil
		}
		if err != nil || since < time.Millisecond {
			p = append(p, errs.Problem{Path: "since", Value: text, Message: "want a duration such as 10m, or a time such as 2026-01-02T15:04:05Z"})
		}
		ask.Since = since
	}
	return ask, p.Err()
}

func truth(c *gin.Context, name string, p *errs.Problems) bool {
	text := c.Query(name)
	if text == "" {
		return false
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		*p = append(*p, errs.Problem{Path: name, Value: text, Message: "want true or false"})
	}
	return v
}

func execFrom(c *gin.Context) (control.Ask, error) {
	ask, p := control.Ask{Kind: control.Exec, Command: c.QueryArray("command")}, errs.Problems{}
	ask.Stdin, ask.TTY = truth(c, "stdin", &p), truth(c, "tty", &p)
	all := 0
	for _, w := range ask.Command {
		all += len(w)
	}
	if len(ask.Command) == 0 || ask.Command[0] == "" || len(ask.Command) > mostArguments || all > mostCommand {
		p = append(p, errs.Problem{Path: "command", Message: fmt.Sprintf("want a program, and at most %d arguments of %d bytes together", mostArguments, mostCommand)})
	}
	for name, to := range map[string]*uint32{"columns": &ask.Columns, "rows": &ask.Rows} {
		if text := c.Query(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				p = append(p, errs.Problem{Path: name, Value: text, Message: "want a number up to 65535"})
			}
			*to = uint32(n)
		}
	}
	p = append(p, session.Handshake(c.Request)...) // nothing may run for one that is refused afterwards
	return ask, p.Err()
}
