package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	wire "oakestra/api/rest"
)

func logsCommand(a *app) *cobra.Command {
	var q logQuery
	cmd := &cobra.Command{Use: "logs SERVICE[/NUMBER]", Short: "see what instances of a service have written", Args: cobra.ExactArgs(1),
		Long: `Prints what an instance has written, stdout and stderr in one, also when it has
ended. Without a number those of all instances, each line with the instance it
is of. With -f it goes on until the container ends. With --json every line is
an object. What is printed last on stderr is why it ended, if something went wrong.`,
		Example: "  oak logs nginx\n  oak logs nginx/0 -f --tail 20\n  oak logs clientsrvr.test.nginx.test --since 10m",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.check(cmd); err != nil {
				return err
			}
			c, t, err := a.target(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.logs(cmd.Context(), c, t, q)
		}}
	cmd.Flags().BoolVarP(&q.follow, "follow", "f", false, "go on as they write")
	cmd.Flags().Int64Var(&q.tail, "tail", -1, "only the last so many lines of each; -1: all")
	cmd.Flags().DurationVar(&q.since, "since", 0, "only what is younger, such as 10m; exact to some seconds")
	cmd.ValidArgsFunction = a.completeServices
	return cmd
}

type logQuery struct {
	follow bool
	tail   int64
	since  time.Duration
}

func (q logQuery) check(cmd *cobra.Command) error {
	if q.tail < -1 || q.tail == 0 {
		return fmt.Errorf("--tail %d: want a number of lines from 1 on, or -1 for all", q.tail)
	}
	if q.since < 0 || q.since == 0 && cmd.Flags().Changed("since") {
		return fmt.Errorf("--since %s: want a duration such as 10m", q.since)
	}
	return nil
}

func (q logQuery) route(service string, number int) string {
	v := url.Values{}
	if q.follow {
		v.Set("follow", "true")
	}
	if q.tail > 0 {
		v.Set("tail", strconv.FormatInt(q.tail, 10))
	}
	if q.since > 0 {
		v.Set("since", q.since.String())
	}
	return fmt.Sprintf("/api/service/%s/instance/%d/logs?%s", service, number, v.Encode())
}

// target is a service and which of its instances are meant.
type target struct {
	service serviceView
	numbers []int
	one     bool // a number was given
}

// target finds what SERVICE[/NUMBER] means.
func (a *app) target(ctx context.Context, text string) (*client, target, error) {
	name, number, given := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if given && (err != nil || n < 0) {
		return nil, target{}, fmt.Errorf("instance number %q: want SERVICE/NUMBER, such as nginx/0", number)
	}
	c, id, err := a.serviceByName(ctx, name)
	if err != nil {
		return nil, target{}, err
	}
	t := target{one: given, numbers: []int{n}}
	if t.service, err = c.service(ctx, id); err != nil || given {
		return c, t, err
	}
	t.numbers = nil
	for _, i := range t.service.Instances {
		t.numbers = append(t.numbers, i.Number)
	}
	if len(t.numbers) == 0 {
		return nil, t, fmt.Errorf("service %s has no instances; see: oak instance add -h", name)
	}
	return c, t, nil
}

// logs prints one instance after the other, or all at once while it follows.
func (a *app) logs(ctx context.Context, c *client, t target, q logQuery) error {
	p := &printer{out: a.out, json: a.json, service: t.service.JobName, label: t.service.Name, alone: t.one || len(t.numbers) == 1}
	if !q.follow {
		var all []error
		for _, n := range t.numbers {
			all = append(all, c.log(ctx, q.route(t.service.ID, n), n, p))
		}
		return errors.Join(all...)
	}
	var g sync.WaitGroup
	all := make([]error, len(t.numbers))
	for i, n := range t.numbers {
		g.Go(func() { all[i] = c.log(ctx, q.route(t.service.ID, n), n, p) })
	}
	g.Wait()
	return errors.Join(all...)
}

// log prints one log. Error: it could not be read to its end.
func (c *client) log(ctx context.Context, route string, number int, p *printer) error {
	resp, err := c.open(ctx, route, nil)
	if err != nil {
		return fmt.Errorf("instance %d: %w", number, err)
	}
	defer resp.Body.Close()
	if err := p.copy(number, resp.Body); err != nil {
		if ctx.Err() != nil { // who asked has had enough
			return nil
		}
		return fmt.Errorf("instance %d: the connection to the root broke off: %w", number, err)
	}
	if why := resp.Trailer.Get(wire.HeaderEnd); why != "" {
		return fmt.Errorf("instance %d: %s", number, why)
	}
	return nil
}

// printer prints the lines of several logs.
type printer struct {
	out            io.Writer
	json, alone    bool
	service, label string
	mu             sync.Mutex
}

func (p *printer) copy(number int, from io.Reader) error {
	if p.alone && !p.json {
		_, err := io.Copy(p.out, from)
		return err
	}
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := in.ReadSlice('\n') // a longer one comes in parts
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		if len(line) > 0 {
			if err := p.line(number, strings.TrimSuffix(string(line), "\n")); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func (p *printer) line(number int, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		return json.NewEncoder(p.out).Encode(struct {
			Service string `json:"service"`
			Number  int    `json:"instance_number"`
			Line    string `json:"line"`
		}{p.service, number, text})
	}
	_, err := fmt.Fprintf(p.out, "[%s/%d] %s\n", p.label, number, text)
	return err
}

// completeServices offers the names of services.
func (a *app) completeServices(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	c, err := a.signedIn(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	services, err := c.services(ctx, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range services {
		for _, n := range []string{s.Name, s.JobName} {
			if strings.HasPrefix(n, begun) {
				names = append(names, n+"\t"+s.StatusDetail)
			}
			for _, i := range s.Instances {
				if one := fmt.Sprintf("%s/%d", n, i.Number); strings.HasPrefix(one, begun) && strings.Contains(begun, "/") {
					names = append(names, one+"\t"+i.Status)
				}
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
