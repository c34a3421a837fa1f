package bench

import "testing"

func TestMedianIsTheMiddleOfAnyOrder(t *testing.T) {
	for _, c := range []struct {
		in   sample
		want float64
	}{{sample{3, 1, 2}, 2}, {sample{4, 1, 3, 2}, 2.5}, {sample{7}, 7}, {nil, 0}} {
		if got := c.in.median(); got != c.want {
			t.Errorf("median of %v = %v, want %v", c.in, got, c.want)
		}
	}
}
