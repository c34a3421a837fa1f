package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// app is what all commands share.
type app struct {
	root string
	json bool
	out  io.Writer
}

// login is what "oak login" keeps, one file per user of the machine.
type login struct {
	Root    string `json:"root"`
	User    string `json:"user"`
	Token   string `json:"token"`
	Refresh string `json:"refresh_token"`
}

// client speaks to one root.
type client struct {
	base         string
	token        string
	refreshToken string // after refresh, for the next one
	http         *http.Client
}

// apiError is an answer of the root that is not 200.
type apiError struct {
	Code    int    `json:"code"`
	Status  string `json:"status"`
	Message string `json:"message"`
	Errors  []struct {
		Path    string `json:"path"`
		Value   string `json:"value"`
		Message string `json:"message"`
	} `json:"errors"`
}

func (e *apiError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the root refused: %s", e.Message)
	if e.Message == "" {
		fmt.Fprintf(&b, "%d %s", e.Code, e.Status)
	}
	for _, p := range e.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", p.Path, p.Message)
		if p.Value != "" {
			fmt.Fprintf(&b, " (got %s)", p.Value)
		}
	}
	return b.String()
}

func newClient(base string) *client {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	return &client{base: strings.TrimRight(base, "/"), http: &http.Client{Timeout: 30 * time.Second}}
}

// signedIn returns a client with a token: of the environment, of "oak login",
// or, on this machine only, of the default login of a fresh install.
func (a *app) signedIn(ctx context.Context) (*client, error) {
	c := newClient(a.root)
	if c.token = os.Getenv("OAK_TOKEN"); c.token != "" {
		return c, nil
	}
	if user := os.Getenv("OAK_USER"); user != "" {
		return c, c.login(ctx, user, os.Getenv("OAK_PASSWORD"))
	}
	if l, err := loadLogin(); err == nil && l.Root == c.base {
		if c.token = l.Token; c.usable(ctx) {
			return c, nil
		}
		if c.token = l.Refresh; c.refresh(ctx) {
			l.Token, l.Refresh = c.token, c.refreshToken
			return c, saveLogin(l)
		}
		return nil, fmt.Errorf("the login of %s at %s is over; run: oak login %s", l.User, c.base, l.User)
	}
	if !c.local() {
		return nil, fmt.Errorf("not logged in at %s; run: oak login", c.base)
	}
	c.token = ""
	if err := c.login(ctx, "Admin", envOr("OAKESTRA_ADMIN_PASSWORD", "Admin")); err != nil {
		var refused *apiError
		if errors.As(err, &refused) {
			return nil, fmt.Errorf("%w\nrun: oak login", err)
		}
		return nil, err
	}
	return c, nil
}

func (c *client) local() bool {
	u, err := url.Parse(c.base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *client) login(ctx context.Context, user, password string) error {
	l, err := c.newLogin(ctx, user, password)
	c.token = l.Token
	return err
}

func (c *client) newLogin(ctx context.Context, user, password string) (login, error) {
	l := login{Root: c.base, User: user}
	err := c.do(ctx, http.MethodPost, "/api/auth/login", map[string]string{"username": user, "password": password}, &l)
	return l, err
}

func (c *client) usable(ctx context.Context) bool {
	return c.token != "" && c.do(ctx, http.MethodGet, "/api/applications/", nil, nil) == nil
}

func (c *client) refresh(ctx context.Context) bool {
	answer := struct {
		Token   string `json:"token"`
		Refresh string `json:"refresh_token"`
	}{Refresh: c.token}
	if c.token == "" || c.do(ctx, http.MethodPost, "/api/auth/refresh", nil, &answer) != nil {
		return false
	}
	c.token, c.refreshToken = answer.Token, answer.Refresh
	return c.token != ""
}

// do sends one request; body is JSON text, or a value that becomes it.
func (c *client) do(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return fmt.Errorf("root address %q: %w", c.base, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no answer from the root (is it running? on one machine: sudo oak up -d): %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("answer of %s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		e := &apiError{Code: resp.StatusCode, Status: http.StatusText(resp.StatusCode)}
		_ = json.Unmarshal(data, e) // a proxy's page stays a bare status
		return e
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("answer of %s %s: %w", method, path, err)
	}
	return nil
}

func loginFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "oak", "login.json"), nil
}

func loadLogin() (login, error) {
	var l login
	file, err := loginFile()
	if err != nil {
		return l, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(data, &l)
}

func saveLogin(l login) error {
	file, err := loginFile()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o600)
}
