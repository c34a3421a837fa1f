package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

type eventView struct {
	ID      string `json:"id"`
	Time    string `json:"time"`
	First   string `json:"first_time"`
	Count   int    `json:"count"`
	Kind    string `json:"kind"`
	Subject struct {
		Type string `json:"type"`
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"subject"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (e eventView) line() string {
	text := fmt.Sprintf("%s  %-7s  %s %s  %s  %s", e.Time, e.Kind, e.Subject.Type, e.Subject.Name, e.Reason, e.Message)
	if e.Count > 1 {
		text += fmt.Sprintf("  (%d times)", e.Count)
	}
	return strings.TrimRight(text, " ")
}

func eventsCommand(a *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{Use: "events [SERVICE]", Short: "see what happened, and why", Args: cobra.MaximumNArgs(1),
		Long: `Prints what the root remembers of the last events that you may see, of one service
(name or id) or of all. With -f it goes on as they happen, over restarts of the
root. With --json every line is one event.`,
		Example: "  oak events\n  oak events -f\n  oak events clientsrvr.test.nginx.test",
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			c, err := a.signedIn(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				var id string
				if c, id, err = a.serviceByName(cmd.Context(), args[0]); err != nil {
					return err
				}
				query.Set("type", "service")
				query.Set("id", id)
			}
			return a.events(cmd.Context(), c, query, follow)
		}}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as they happen")
	return cmd
}

// events prints the stream, and connects again as long as it follows.
func (a *app) events(ctx context.Context, c *client, query url.Values, follow bool) error {
	last := ""
	for {
		if last == "" {
			query.Set("after", "0")
		}
		err := a.stream(ctx, c, "/api/events?"+query.Encode(), &last, follow)
		var refused *apiError
		switch {
		case ctx.Err() != nil || err == nil && !follow:
			return nil
		case !follow, errors.As(err, &refused) && refused.Code != http.StatusUnauthorized && refused.Code != http.StatusServiceUnavailable:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if again, err := a.signedIn(ctx); err == nil {
			c = again
		}
	}
}

// quiet is how long nothing comes after the events that are kept.
const quiet = 500 * time.Millisecond

// kept tells what a root remembers from what happens while it is read: on a busy
// root something always comes, and would never end a list.
type kept struct {
	asked time.Time // by the root's clock, which has whole seconds here
	seen  map[eventView]bool
}

func keptBy(resp *http.Response) *kept {
	asked, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		asked = time.Now().Truncate(time.Second)
	}
	return &kept{asked, map[eventView]bool{}}
}

// over says that an event, and so all that follow, happened later.
func (k *kept) over(e eventView) bool {
	at, err := time.Parse(time.RFC3339, e.Time)
	return err == nil && at.Truncate(time.Second).After(k.asked)
}

// again says that an event is one of before that was counted up meanwhile.
func (k *kept) again(e eventView) bool {
	e.ID, e.Time, e.Count = "", "", 0
	if e.First == "" || !k.seen[e] {
		k.seen[e] = true
		return false
	}
	return true
}

// stream reads until the root ends it, or, without follow, until nothing more
// is kept.
func (a *app) stream(ctx context.Context, c *client, route string, last *string, follow bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.open(ctx, route, map[string]string{"Last-Event-ID": *last})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var done atomic.Bool
	still := time.AfterFunc(quiet, func() {
		if !follow {
			done.Store(true)
			cancel()
		}
	})
	defer still.Stop()
	var end *kept // nil: none
	if !follow {
		end = keptBy(resp)
	}
	name := ""
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) || done.Load() {
				return nil
			}
			return err
		}
		if !follow {
			still.Reset(quiet)
		}
		field, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		switch field {
		case "id":
			*last = value
		case "event":
			name = value
		case "data":
			if over, err := a.printEvent(name, value, end); over || err != nil {
				return err
			}
		}
	}
}

// printEvent says whether the list is over; the event is then not of it.
func (a *app) printEvent(name, data string, end *kept) (over bool, err error) {
	var e eventView
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return false, fmt.Errorf("event of the root: %w", err)
	}
	switch {
	case name == "event" && end != nil && end.over(e):
		return true, nil
	case name == "event" && end != nil && end.again(e):
	case a.json:
		_, err = fmt.Fprintln(a.out, data)
	case name != "event":
		a.say("-- %s", e.Message)
	default:
		a.say("%s", e.line())
	}
	return false, err
}
