package clusterlink

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

// connectWithin bounds one attempt to open a connection.
const connectWithin = 2 * time.Second

// errUnreachable says that no connection could be opened.
var errUnreachable = fmt.Errorf("the cluster cannot be reached: %w", errs.Unavailable)

// client keeps no connection: registrations are rare, and one that was kept
// over a cut would first have to time out.
func client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: connectWithin}).DialContext, DisableKeepAlives: true,
	}}
}

// patience is how long to wait before the next session. Whom nobody hears
// costs nobody anything and tries again soon, so that a healed network is
// noticed within seconds. A cluster that answers but does not serve has too
// much to do: it is given time.
type patience struct{ near, far *lifecycle.Backoff }

func newPatience() patience {
	return patience{lifecycle.NewBackoff(250*time.Millisecond, time.Second), lifecycle.NewBackoff(500*time.Millisecond, 15*time.Second)}
}

// servedFor is how long a cluster must have taken reports to count as one that
// serves.
const servedFor = 5 * time.Second

// next is the pause after a session that ended with err and in which the
// cluster's broker took reports for so long.
func (p patience) next(err error, served time.Duration) time.Duration {
	if served >= servedFor {
		p.near.Reset()
		p.far.Reset()
	}
	if errors.Is(err, errUnreachable) {
		return p.near.Next()
	}
	return p.far.Next()
}
