package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"oakestra/root"
	"oakestra/root/auth"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// startRoot runs a system manager and points oak at it.
func startRoot(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	st, _, err := boltstore.Open(filepath.Join(dir, "root.db"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := auth.LoadKey(filepath.Join(dir, "jwt.key"))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := witness.Open(filepath.Join(dir, "witness.json"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := root.DefaultConfig()
	cfg.Listen, cfg.Data = ln.Addr().String(), dir
	d, err := root.New(cfg, root.Deps{Store: st, Witness: memory, Key: key, Listener: ln, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = st.Close()
	})
	for k, v := range map[string]string{
		"OAK_ROOT": "http://" + ln.Addr().String(), "XDG_CONFIG_HOME": t.TempDir(), "OAK_TOKEN": "", "OAK_USER": "", "OAK_PASSWORD": "",
		"OAK_NEW_PASSWORD": "", "OAKESTRA_ADMIN_PASSWORD": "",
	} {
		t.Setenv(k, v)
	}
}

// oak runs one command line with an input.
func oak(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	real := os.Stdout
	os.Stdout = out
	defer func() { os.Stdout = real }()
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(input))
	runErr := cmd.ExecuteContext(t.Context())
	_ = out.Close()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), runErr
}

func TestAccountsByCommandLine(t *testing.T) {
	startRoot(t)
	good := func(input string, args ...string) string {
		t.Helper()
		out, err := oak(t, input, args...)
		if err != nil {
			t.Fatalf("oak %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	bad := func(want, input string, args ...string) {
		t.Helper()
		if _, err := oak(t, input, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("oak %s: %v, want %q", strings.Join(args, " "), err, want)
		}
	}
	good("Admin\n", "login")
	good("long enough\n", "user", "add", "ann", "--email", "ann@example.org")
	bad("exists already", "long enough\n", "user", "add", "ann")
	bad("roles[0]: is no role", "long enough\n", "user", "add", "bob", "--roles", "King")
	good("", "org", "add", "lab", "--member", "ann=Organization_Admin,Application_Provider")
	if out := good("", "org", "list"); !strings.Contains(out, "lab") || !strings.Contains(out, "root") {
		t.Errorf("organizations:\n%s", out)
	}
	if out := good("", "user", "list", "lab"); !strings.Contains(out, "ann@example.org") || !strings.Contains(out, "Organization_Admin,Application_Provider") {
		t.Errorf("members:\n%s", out)
	}
	good("", "user", "set", "ann", "--roles", "Application_Provider,Infrastructure_Provider")
	bad("nothing to change", "", "user", "set", "ann")
	var users []userView
	if err := json.Unmarshal([]byte(good("", "user", "list", "--json")), &users); err != nil || len(users) != 2 || len(users[1].Roles) != 2 {
		t.Errorf("users %+v, %v", users, err)
	}

	token := strings.TrimSpace(good("", "token", "create", "ci", "--expires", "never"))
	if out := good("", "token", "list"); !strings.Contains(out, "never") || strings.Contains(out, token) {
		t.Errorf("tokens:\n%s", out)
	}
	bad("--expires", "", "token", "create", "x", "--expires", "soon")
	t.Setenv("OAK_TOKEN", token)
	good("", "nodes")
	bad("scope admin", "", "user", "list")
	t.Setenv("OAK_TOKEN", "")
	good("", "token", "revoke", "ci")
	t.Setenv("OAK_TOKEN", token)
	bad("revoked", "", "nodes")
	t.Setenv("OAK_TOKEN", "")

	good("long enough\nlonger than that\n", "user", "password", "ann")
	good("longer than that\n", "login", "ann")
	bad("role Admin", "", "user", "list")
	good("", "logout")
	bad("no login", "", "logout")
	good("Admin\n", "login")
	good("", "user", "rm", "ann")
	good("", "org", "set", "lab", "--name", "shop")
	good("", "org", "rm", "shop")
}
