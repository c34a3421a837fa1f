package site

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Load is a stream of requests from inside a container, each on a connection
// of its own, at a steady rate: a late answer delays no other request.
type Load struct {
	stop func()
	done chan struct{}

	mu      sync.Mutex
	asked   int
	slowest time.Duration
	failed  []string
	by      map[string]int // answers by their first word
}

// StartLoad begins to ask a URL (an IP, not a name) so many times per second.
func StartLoad(c Container, url string, perSecond int) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{stop: cancel, done: make(chan struct{}), by: map[string]int{}}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: c.Dial, DisableKeepAlives: true}}
	go func() {
		defer close(l.done)
		var under sync.WaitGroup
		defer under.Wait()
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				under.Go(func() { l.ask(client, url) })
			}
		}
	}()
	return l
}

func (l *Load) ask(client *http.Client, url string) {
	begin := time.Now()
	text, err := fetch(client, url)
	took := time.Since(begin)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("%s after %s: %v", begin.Format("05.000"), took.Round(time.Millisecond), err))
		return
	}
	word, _, _ := strings.Cut(text, " ")
	l.by[word]++
}

func fetch(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	return strings.TrimSpace(string(data)), err
}

// Stop waits for the last answer and returns what happened: a sentence with
// the counts, and the failures.
func (l *Load) Stop() (report string, asked int, failed []string) {
	l.stop()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	var who []string
	for name, n := range l.by {
		who = append(who, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(who)
	report = fmt.Sprintf("%d requests, %d failed, the slowest took %s; answered by %s",
		l.asked, len(l.failed), l.slowest.Round(time.Millisecond), strings.Join(who, ", "))
	return report, l.asked, l.failed
}
