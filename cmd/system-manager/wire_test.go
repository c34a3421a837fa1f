package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/errs"
	"oakestra/root"
)

func TestFlagsWinOverEnvironmentOverDefaults(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want func(*root.Config)
	}{
		{"nothing", nil, nil, func(*root.Config) {}},
		{"flags", []string{"-listen", "127.0.0.1:7", "-data", "/d"}, nil, func(c *root.Config) { c.Listen, c.Data = "127.0.0.1:7", "/d" }},
		{"environment", nil, map[string]string{"OAKESTRA_SECURITY": "open", "OAKESTRA_ADMIN_PASSWORD": "pw", "OAKESTRA_API_QUOTED": "1"},
			func(c *root.Config) { c.Security, c.AdminPassword, c.Quoted = "open", "pw", true }},
		{"MongoDB by environment", []string{"-advertise", "10.0.0.1:10000"}, map[string]string{"MONGO_URL": " mongodb://db "},
			func(c *root.Config) { c.Mongo, c.Advertise = "mongodb://db", "10.0.0.1:10000" }},
		{"MongoDB by flag", []string{"-mongo", "mongodb://flag"}, map[string]string{"MONGO_URL": "mongodb://environment"},
			func(c *root.Config) { c.Mongo = "mongodb://flag" }},
		{"accounts", nil, map[string]string{"OAKESTRA_SECURITY": "strict", "OAKESTRA_API_ROLE_OBJECTS": "1", "OAKESTRA_CORS_ORIGINS": "https://a.example, http://b:3000/"},
			func(c *root.Config) {
				c.Security, c.RoleObjects, c.CORSOrigins = "strict", true, "https://a.example, http://b:3000/"
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, k := range []string{"OAKESTRA_SECURITY", "OAKESTRA_ADMIN_PASSWORD", "OAKESTRA_API_QUOTED", "OAKESTRA_API_ROLE_OBJECTS", "OAKESTRA_CORS_ORIGINS", "MONGO_URL"} {
				t.Setenv(k, c.env[k])
			}
			want := root.DefaultConfig()
			c.want(&want)
			got, _, err := parse(c.args)
			if err != nil || got != want {
				t.Errorf("%+v %v, want %+v", got, err, want)
			}
		})
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	t.Setenv("OAKESTRA_SECURITY", "stricter")
	t.Setenv("OAKESTRA_CORS_ORIGINS", "dash.example")
	t.Setenv("SMTP_HOST", "mail.example")
	t.Setenv("SMTP_PORT", "smtp?")
	_, _, err := parse([]string{"-listen", "10000", "-data", " ", "-advertise", "here"})
	if !errors.Is(err, errs.Invalid) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"-listen", "10000", "-data", "OAKESTRA_SECURITY", "stricter", "OAKESTRA_CORS_ORIGINS", "dash.example", "SMTP_PORT", "smtp?", "SMTP_FROM", "-advertise", "here", "MONGO_URL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

func TestASpareArgumentIsAMistake(t *testing.T) {
	if _, _, err := parse([]string{"start"}); err == nil || !strings.Contains(err.Error(), "start") {
		t.Errorf("%v", err)
	}
}

func TestHelpIsNoMistakeAndTeaches(t *testing.T) {
	if _, _, err := parse([]string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"system-manager -data", "OAKESTRA_ADMIN_PASSWORD", "OAKESTRA_SECURITY", "Admin", "MONGO_URL", "-advertise"} {
		if !strings.Contains(help, want) {
			t.Errorf("-h does not mention %q", want)
		}
	}
}

// The configuration may be logged as a whole.
func TestAPasswordIsNotPrinted(t *testing.T) {
	c := root.Config{AdminPassword: "hunter2", Mongo: "mongodb://oak:hunter2@db"}
	for _, verb := range []string{"%v", "%+v", "%s"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, "hunter2") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestAnAddressThatOthersCanReach(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{"0.0.0.0:10000": name + ":10000", "[::]:10000": name + ":10000", "10.0.0.1:7": "10.0.0.1:7"} {
		addr, err := net.ResolveTCPAddr("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := advertise(addr); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", at, got, err, want)
		}
	}
}

// A wrong address of a MongoDB ends the program with its name, without the
// password.
func TestAMongoThatIsNotThere(t *testing.T) {
	cfg := root.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Mongo = t.TempDir(), "127.0.0.1:0", "mongodb://oak:hunter2@127.0.0.1:1"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := run(ctx, cfg, options{logLevel: "error", logFormat: "text"})
	if err == nil || !strings.Contains(err.Error(), "MONGO_URL") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestMailComesFromTheEnvironment(t *testing.T) {
	for k, v := range map[string]string{"SMTP_HOST": "mail.example", "SMTP_PORT": "25", "SMTP_USER": "oak", "SMTP_PASSWORD": "hunter2", "SMTP_FROM": "oak@example.org"} {
		t.Setenv(k, v)
	}
	_, opts, err := parse(nil)
	if m := opts.mail; err != nil || m.Host != "mail.example" || m.Port != "25" || m.User != "oak" || m.Password != "hunter2" || m.From != "oak@example.org" {
		t.Errorf("%v, %v", opts.mail, err)
	}
	if text := fmt.Sprintf("%+v", opts.mail); strings.Contains(text, "hunter2") {
		t.Errorf("printed: %s", text)
	}
}

// A restored file would lie there unread.
func TestRestoreIsNotForMongoDB(t *testing.T) {
	t.Setenv("MONGO_URL", "mongodb://oak:hunter2@db")
	_, _, err := parse([]string{"-restore", "backup.db"})
	if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "-restore") || !strings.Contains(err.Error(), "MONGO_URL") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	t.Setenv("MONGO_URL", "")
	if _, _, err := parse([]string{"-restore", "backup.db"}); err != nil {
		t.Error(err)
	}
}
