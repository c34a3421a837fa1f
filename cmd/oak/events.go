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
			if err := a.printEvent(name, value); err != nil {
				return err
			}
		}
	}
}

func (a *app) printEvent(name, data string) error {
	var e eventView
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return fmt.Errorf("event of the root: %w", err)
	}
	switch {
	case a.json:
		_, err := fmt.Fprintln(a.out, data)
		return err
	case name != "event":
		a.say("-- %s", e.Message)
	default:
		a.say("%s", e.line())
	}
	return nil
}
