package auth

import (
	"testing"
	"time"
)

// TestTokensAndTheWallClock: P4. Whatever somebody does to the wall clock, no
// token is accepted more than 60 s after it has really expired, and a jump that
// was taken back has ended none.
func TestTokensAndTheWallClock(t *testing.T) {
	const life = 10 * time.Minute
	for name, wall := range map[string]func(real time.Duration) time.Duration{
		"as it should": func(r time.Duration) time.Duration { return r },
		"an hour back": func(r time.Duration) time.Duration {
			if r > time.Minute {
				return r - time.Hour
			}
			return r
		},
		"frozen":              func(time.Duration) time.Duration { return 0 },
		"backwards all along": func(r time.Duration) time.Duration { return -r },
		"ten years back": func(r time.Duration) time.Duration {
			if r > time.Minute {
				return r - 10*365*24*time.Hour
			}
			return r
		},
		"an hour forth and back": func(r time.Duration) time.Duration {
			if r > time.Minute && r < 2*time.Minute {
				return r + time.Hour
			}
			return r
		},
		"ten years forth and back": func(r time.Duration) time.Duration {
			if r > time.Minute && r < 2*time.Minute {
				return r + 10*365*24*time.Hour
			}
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			var real time.Duration // since the process began
			r := newRig(t, "a good password", func(d *Deps) {
				d.AccessTTL = life
				d.Now = steady(func() time.Time { return start.Add(wall(real)) }, func() time.Duration { return real })
			})
			token := r.mustLogin(t, "a good password").Token
			for ; real < life+2*time.Minute; real += 5 * time.Second {
				_, err := r.Verify(t.Context(), token)
				jumped := wall(real) > real
				if err == nil && real > life+time.Minute {
					t.Fatalf("accepted %s after it was made", real)
				}
				if err != nil && real < life-time.Minute && !jumped {
					t.Fatalf("refused %s after it was made: %v", real, err)
				}
			}
		})
	}
}
