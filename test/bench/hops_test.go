package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"oakestra/test/netlab"
)

// hop is a line that one of the programs logs on the way of an instance.
type hop struct {
	name string
	log  *netlab.Process
	// all of words are in the line; %s is the service, %d the number
	words []string
}

// trace reads from the logs how long each hop of an instance took, in ms since
// the POST began. The logs' clock counts whole milliseconds.
func trace(b *testing.B, hops []hop, service string, number int, begin time.Time) []float64 {
	b.Helper()
	out := make([]float64, len(hops))
	for i, h := range hops {
		at, ok := find(h, service, number)
		if !ok {
			b.Logf("no line of %q for instance %d", h.name, number)
			return nil
		}
		out[i] = float64(at.Sub(begin).Microseconds()) / 1000
	}
	return out
}

func find(h hop, service string, number int) (time.Time, bool) {
	var words []string
	for _, w := range h.words {
		words = append(words, strings.NewReplacer("%s", service, "%d", fmt.Sprint(number)).Replace(w))
	}
next:
	for _, line := range strings.Split(h.log.Log(), "\n") {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// report prints the hops: when each was reached, and what it took since the
// one before, medians over the rounds.
func report(hops []hop, rounds [][]float64) {
	fmt.Fprintln(os.Stdout, "hop by hop, ms since the POST began (since the hop before):")
	for i, h := range hops {
		var at, took sample
		for _, r := range rounds {
			at = append(at, r[i])
			if i > 0 {
				took = append(took, r[i]-r[i-1])
			} else {
				took = append(took, r[i])
			}
		}
		fmt.Fprintf(os.Stdout, "  %-42s %v (%v)\n", h.name, at, took)
	}
}
