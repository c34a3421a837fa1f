package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"oakestra/pkg/errs"
	"oakestra/pkg/session"
)

// mostRoute bounds what a command may take in the URL: the root takes 64 KiB of
// header, and the token is there, too.
const mostRoute = 60 << 10

// exitCode is how a command in an instance ended; oak ends like it.
type exitCode int

// Error is not printed: the command has said what it had to say.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func execCommand(a *app) *cobra.Command {
	var stdin, tty bool
	cmd := &cobra.Command{Use: "exec SERVICE[/NUMBER] [-it] -- COMMAND [ARGUMENT...]", Short: "run a command in an instance", Args: cobra.MinimumNArgs(2),
		Long: `Runs a command in the container of an instance, beside what runs there. The
number may be left out when there is only one instance. With -i the command
reads what is typed, with -t it has a terminal; a shell needs both. oak ends
with the exit code of the command. When oak ends first, the command is killed.
The arguments are a part of the URL: proxies on the way may log them, and they
may have about 60 KiB together. Give secrets and much data to its input.`,
		Example: "  oak exec curl/0 -- cat /etc/hosts\n  oak exec curl -it -- sh\n  echo hello | oak exec curl/0 -i -- cat",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, t, err := a.target(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(t.numbers) > 1 {
				return fmt.Errorf("service %s has %d instances; say which, such as %s/%d", args[0], len(t.numbers), args[0], t.numbers[0])
			}
			return c.exec(cmd.Context(), t.service.ID, t.numbers[0], args[1:], a.newConsole(cmd, stdin, tty))
		}}
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "the command reads what is typed, or standard input")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "the command has a terminal")
	cmd.ValidArgsFunction = a.completeServices
	return cmd
}

// console is where a user sits.
type console struct {
	stdin, tty  bool
	in          io.Reader
	fd          int // of the terminal that is typed at, -1 for none
	out, stderr io.Writer
}

func (a *app) newConsole(cmd *cobra.Command, stdin, tty bool) console {
	c := console{stdin: stdin, tty: tty, in: cmd.InOrStdin(), fd: -1, out: a.out, stderr: cmd.ErrOrStderr()}
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		c.fd = int(f.Fd())
	}
	if tty && stdin && c.fd < 0 {
		fmt.Fprintln(c.stderr, "oak: the command gets no terminal: standard input is none")
		c.tty = false
	}
	return c
}

// size of the terminal; zeros when there is none.
func (c console) size() (columns, rows int) {
	if c.fd < 0 {
		return 0, 0
	}
	columns, rows, err := term.GetSize(c.fd)
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

func (c console) route(service string, number int, command []string) string {
	v := url.Values{"command": command}
	if c.stdin {
		v.Set("stdin", "true")
	}
	if c.tty {
		v.Set("tty", "true")
		if columns, rows := c.size(); columns > 0 {
			v.Set("columns", strconv.Itoa(columns))
			v.Set("rows", strconv.Itoa(rows))
		}
	}
	return fmt.Sprintf("/api/service/%s/instance/%d/exec?%s", service, number, v.Encode())
}

// exec runs a command. Error: exitCode for one that has ended with another than 0.
func (c *client) exec(ctx context.Context, service string, number int, command []string, at console) error {
	route := at.route(service, number, command)
	if len(route) > mostRoute {
		return fmt.Errorf("the command takes %d bytes in the URL, at most %d are possible: give it its data with -i instead", len(route), mostRoute)
	}
	sock, err := session.Dial(ctx, c.base+route, http.Header{"Authorization": {"Bearer " + c.token}}, &http.Client{})
	var refused *session.Refused
	switch {
	case errors.As(err, &refused):
		return &apiError{Code: refused.Status, Status: http.StatusText(refused.Status), Message: refused.Message}
	case err != nil:
		return fmt.Errorf("no answer from the root: %s", strings.TrimSuffix(err.Error(), ": "+errs.Unavailable.Error()))
	}
	defer sock.Close()
	if at.tty && at.stdin {
		before, err := term.MakeRaw(at.fd)
		if err != nil {
			return fmt.Errorf("set up the terminal: %w", err)
		}
		defer func() { _ = term.Restore(at.fd, before) }()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if at.stdin {
		go at.typed(ctx, sock)
	}
	if at.tty {
		go at.resized(ctx, sock)
	}
	return at.show(ctx, sock)
}

// typed sends what the user types.
func (c console) typed(ctx context.Context, sock *session.Socket) {
	buf := make([]byte, session.Chunk)
	for {
		n, err := c.in.Read(buf)
		if n > 0 && sock.Send(ctx, session.Frame{Kind: session.Stdin, Data: buf[:n]}) != nil {
			return
		}
		if err != nil {
			_ = sock.Send(ctx, session.Frame{Kind: session.StdinClosed})
			return
		}
	}
}

// resized sends the size of the terminal when it changes.
func (c console) resized(ctx context.Context, sock *session.Socket) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		if columns, rows := c.size(); columns > 0 {
			if sock.Send(ctx, session.Frame{Kind: session.Resize, Columns: uint32(columns), Rows: uint32(rows)}) != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// show prints what the command says, and returns how it ended.
func (c console) show(ctx context.Context, sock *session.Socket) error {
	for {
		f, err := sock.Recv(ctx)
		if err != nil {
			if ctx.Err() != nil { // interrupted
				return exitCode(130)
			}
			return fmt.Errorf("the connection to the root broke off: %w", err)
		}
		to := c.out
		switch f.Kind {
		case session.Stderr:
			to = c.stderr
		case session.End:
			switch {
			case f.Message != "":
				return errors.New(f.Message)
			case f.Exit != 0:
				return exitCode(f.Exit)
			}
			return nil
		case session.Stdout, session.Stdin, session.StdinClosed, session.Resize, session.Ready:
		}
		if _, err := to.Write(f.Data); err != nil {
			return err
		}
	}
}
