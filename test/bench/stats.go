package bench

import (
	"fmt"
	"sort"
)

// sample is a set of measurements of one thing.
type sample []float64

func (s sample) sorted() sample {
	c := append(sample(nil), s...)
	sort.Float64s(c)
	return c
}

func (s sample) median() float64 {
	c := s.sorted()
	n := len(c)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return c[n/2]
	}
	return (c[n/2-1] + c[n/2]) / 2
}

// String is "median (least - greatest, n rounds)".
func (s sample) String() string {
	if len(s) == 0 {
		return "nothing measured"
	}
	c := s.sorted()
	return fmt.Sprintf("%.1f (%.1f - %.1f, %d rounds)", s.median(), c[0], c[len(c)-1], len(c))
}
