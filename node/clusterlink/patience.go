package clusterlink

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"oakestra/pkg/errs"
	"oakestra/pkg/lifecycle"
)

// errUnreachable says that no connection could be opened.
var errUnreachable = fmt.Errorf("the cluster cannot be reached: %w", errs.Unavailable)

// client keeps no connection: registrations are rare, and one that was kept
// over a cut would first have to time out.
func client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: lifecycle.ConnectWithin}).DialContext, DisableKeepAlives: true,
	}}
}
