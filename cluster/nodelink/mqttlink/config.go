package mqttlink

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"oakestra/pkg/errs"
)

// Local is a broker in the same process; *broker.Broker is one.
type Local interface {
	// Ready is closed when agents can connect.
	Ready() <-chan struct{}
	// Subscribe is called once, before the broker runs.
	Subscribe(filters []string, fn func(topic string, payload []byte))
	Publish(topic string, payload []byte) error
}

// Config names the broker: Local, or URL of an outside one.
type Config struct {
	Local Local
	// URL is host, host:port, or tcp://, mqtt://, ssl://, ws:// with a host;
	// port 10003 when it has none. Used when Local is nil.
	URL string
	// ClusterName becomes part of the client id at an outside broker.
	ClusterName string
	Username    string
	Password    string
	// Queue is how many messages may wait on the way in and on the way out.
	// Default 8192.
	Queue int
	// ConnectTimeout bounds one attempt to reach an outside broker. Default 5 s.
	ConnectTimeout time.Duration
	// RetryMin and RetryMax bound the pause between attempts. Default 200 ms and 5 s.
	RetryMin, RetryMax time.Duration
}

func (c Config) withDefaults() Config {
	if c.Queue == 0 {
		c.Queue = 8192
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&c.ConnectTimeout, 5 * time.Second}, {&c.RetryMin, 200 * time.Millisecond}, {&c.RetryMax, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return c
}

// Validate lists every mistake as errs.Problems.
func (c Config) Validate() error {
	var p errs.Problems
	if c.Local == nil {
		if _, err := brokerURL(c.URL); err != nil {
			p = append(p, errs.Problem{Path: "MQTT_BROKER_URL", Value: c.URL, Message: "want host, host:port or a URL"})
		}
	}
	if c.Queue < 0 {
		p = append(p, errs.Problem{Path: "queue", Value: strconv.Itoa(c.Queue), Message: "must not be negative"})
	}
	return p.Err()
}

// brokerURL completes what a user wrote to what paho dials.
func brokerURL(s string) (string, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		s = "tcp://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "", errs.Invalid
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "10003")
	}
	return u.String(), nil
}
