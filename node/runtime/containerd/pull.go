package containerd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"oakestra/node/runtime"
	"oakestra/pkg/errs"
)

// Registries is the content of registries.json.
type Registries struct {
	Registries map[string]Registry `json:"registries"`
}

// Registry says how to reach one registry, by host ("docker.io").
type Registry struct {
	Mirrors  []string `json:"mirrors"` // URLs, tried in order before the registry itself
	Username string   `json:"username"`
	Password string   `json:"password"`
}

// String hides the password.
func (r Registry) String() string { return fmt.Sprintf("mirrors %v, user %q", r.Mirrors, r.Username) }

// Pull fetches and unpacks an image. Calls for the same image share one
// transfer; it ends when the last caller has left or PullLimit is over.
func (e *Engine) Pull(ctx context.Context, image string, progress func(string)) error {
	ref, err := runtime.NormalizeImage(image)
	if err != nil {
		return err
	}
	done := e.pulls.DoChan(ref, func() (any, error) {
		inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.PullLimit)
		defer cancel()
		return nil, e.pull(inner, ref, progress)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return classed("pull "+ref, ctx.Err())
	}
}

func (e *Engine) pull(ctx context.Context, ref string, progress func(string)) error {
	ctx = namespaces.WithNamespace(ctx, Namespace)
	snapshotter, err := e.chooseSnapshotter(ctx)
	if err != nil {
		return err
	}
	if image, err := e.client.GetImage(ctx, ref); err == nil {
		if ok, err := image.IsUnpacked(ctx, snapshotter); err == nil && ok {
			return nil
		}
	}
	if progress != nil {
		progress("pulling " + ref)
	}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: e.cfg.Registries.hosts})
	_, err = e.client.Pull(ctx, ref, client.WithPullUnpack, client.WithPullSnapshotter(snapshotter),
		client.WithResolver(resolver), client.WithMaxConcurrentDownloads(3))
	if err != nil {
		return classed("pull "+ref, err)
	}
	if progress != nil {
		progress("pulled " + ref)
	}
	return nil
}

// hosts lists where to look for images of a registry: mirrors, then itself.
// Mirrors get no credentials: those belong to the registry.
func (r Registries) hosts(host string) ([]docker.RegistryHost, error) {
	entry := r.Registries[host]
	var out []docker.RegistryHost
	for _, m := range entry.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("mirror %q of %s is no URL: %w", m, host, errs.Invalid)
		}
		out = append(out, docker.RegistryHost{
			Client: http.DefaultClient, Host: u.Host, Scheme: u.Scheme,
			Path:         strings.TrimSuffix(u.Path, "/") + "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		})
	}
	self := docker.RegistryHost{
		Client: http.DefaultClient, Host: host, Scheme: "https", Path: "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		Authorizer: docker.NewDockerAuthorizer(docker.WithAuthClient(http.DefaultClient),
			docker.WithAuthCreds(func(string) (string, string, error) { return entry.Username, entry.Password, nil })),
	}
	if host == "docker.io" {
		self.Host = "registry-1.docker.io"
	}
	if loopback(host) {
		self.Scheme = "http"
	}
	return append(out, self), nil
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host == "localhost" || net.ParseIP(strings.Trim(host, "[]")).IsLoopback()
}

// chooseSnapshotter is overlayfs where the daemon has it, else native (an
// overlay on an overlay does not work).
func (e *Engine) chooseSnapshotter(ctx context.Context) (string, error) {
	e.mu.Lock()
	known := e.snapshotter
	e.mu.Unlock()
	if known != "" {
		return known, nil
	}
	plugins, err := e.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", classed("ask for snapshotters", err)
	}
	known = "native"
	for _, p := range plugins.Plugins {
		if p.ID == "overlayfs" && p.InitErr == nil {
			known = "overlayfs"
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.snapshotter = known
	return known, nil
}
