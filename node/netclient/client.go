package netclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"oakestra/api/local"
	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// Client implements runner.Network.
type Client struct {
	base string
	http *http.Client

	mu         sync.Mutex
	identity   *local.Register
	registered *local.Registered
}

var _ runner.Network = (*Client)(nil)

// New talks to NetManager on a port of this machine.
func New(port int) *Client {
	return &Client{base: fmt.Sprintf("http://127.0.0.1:%d", port), http: &http.Client{Timeout: 15 * time.Second}}
}

// NewOver talks to NetManager over another transport than TCP.
func NewOver(t http.RoundTripper) *Client {
	c := New(0)
	c.http.Transport = t
	return c
}

// Wait returns once NetManager answers, or after limit an error that says
// what to start.
func (c *Client) Wait(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/healthz", nil)
		if err != nil {
			return fmt.Errorf("ask NetManager: %w: %w", err, errs.Internal)
		}
		// Any answer will do: an original NetManager has no such page.
		if resp, err := c.http.Do(req); err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no NetManager at %s within %s; start it first: NetManager -p %s: %w",
				c.base, limit, c.base[len("http://127.0.0.1:"):], errs.Unavailable)
		case <-tick.C:
		}
	}
}

// Identify says who this worker is. The registration itself happens at once
// and again whenever NetManager turns out to have forgotten it.
func (c *Client) Identify(ctx context.Context, id local.Register) error {
	c.mu.Lock()
	c.identity, c.registered = &id, nil
	c.mu.Unlock()
	_, err := c.register(ctx)
	return err
}

// Remember says who this worker was when it ran last, so that containers get
// their network after a boot also while the cluster cannot be reached. It does
// nothing once Identify was called.
func (c *Client) Remember(id local.Register) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.identity == nil {
		c.identity = &id
	}
}

func (c *Client) register(ctx context.Context) (local.Registered, error) {
	c.mu.Lock()
	identity, known := c.identity, c.registered
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	if identity == nil {
		return local.Registered{}, fmt.Errorf("this worker has not joined a cluster yet: %w", errs.Unavailable)
	}
	var out local.Registered
	if err := c.post(ctx, local.PathRegister, identity, &out); err != nil {
		return out, fmt.Errorf("register at NetManager: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered = &out
	return out, nil
}

func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered = nil
}

// DNS is the resolver NetManager offers to containers.
func (c *Client) DNS(ctx context.Context) (string, error) {
	r, err := c.register(ctx)
	return r.DNS, err
}

// Attach asks for the container's network.
func (c *Client) Attach(ctx context.Context, s runtime.Spec, pid uint32) (runner.Attached, error) {
	if _, err := c.register(ctx); err != nil {
		return runner.Attached{}, err
	}
	var out local.Deployed
	err := c.post(ctx, local.PathDeploy, local.Deploy{
		Pid: int(pid), ServiceName: s.JobName, InstanceNumber: s.Number, PortMappings: s.Ports,
		ServiceID: string(s.Service), Grant: uint64(s.Grant), Try: s.Try,
		InstanceIP: s.InstanceIP, ServiceIP: s.ServiceIP, Tenant: s.Tenant,
	}, &out)
	if err != nil {
		c.forget() // it may have been started anew: the next try registers first
		return runner.Attached{}, fmt.Errorf("attach: %w", err)
	}
	return runner.Attached{Address: out.NSAddress}, nil
}

// Detach gives the container's network back.
func (c *Client) Detach(ctx context.Context, s runtime.Spec) error {
	err := c.post(ctx, local.PathUndeploy, local.Undeploy{
		Pid: -1, ServiceName: s.JobName, InstanceNumber: s.Number, PortMappings: s.Ports,
		ServiceID: string(s.Service), Grant: uint64(s.Grant), Try: s.Try,
	}, nil)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}

// post sends in and reads a 200 answer into out. An empty answer, as the
// original gives, leaves out as it is.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errs.Internal)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", err, errs.Internal)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("NetManager does not answer: %w: %w", err, errs.Unavailable)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("NetManager's answer: %w: %w", err, errs.Unavailable)
	}
	if resp.StatusCode != http.StatusOK {
		var f local.Failure
		message := string(bytes.TrimSpace(text))
		if json.Unmarshal(text, &f) == nil && f.Message != "" {
			message = f.Message
		}
		return fmt.Errorf("NetManager answered %d: %w: %w", resp.StatusCode, errors.New(message), errs.Unavailable)
	}
	if out == nil || len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("NetManager's answer: %w: %w", err, errs.Internal)
	}
	return nil
}
