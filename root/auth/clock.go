package auth

import "time"

// steady is a clock that is never behind the time that has really passed: a
// wall clock that is set back, or stands still, does not keep a token alive.
// One that is set forward counts while it is; set back again, nothing is left
// of that. elapsed is the monotonic time since a moment of this process.
func steady(wall func() time.Time, elapsed func() time.Duration) func() time.Time {
	began, before := wall().Round(0), elapsed()
	return func() time.Time {
		now, least := wall().Round(0), began.Add(elapsed()-before)
		if now.Before(least) {
			return least
		}
		return now
	}
}

// systemClock is the machine's.
func systemClock() func() time.Time {
	born := time.Now()
	return steady(time.Now, func() time.Duration { return time.Since(born) })
}
