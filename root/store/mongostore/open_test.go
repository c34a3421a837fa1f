package mongostore

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"oakestra/pkg/errs"
)

func TestAPasswordIsNeverPrinted(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://oak:hunt%40er2@db.example:27017/x": "mongodb://***@db.example:27017/x",
		"mongodb+srv://oak:hunter2@db.example":        "mongodb+srv://***@db.example",
		"mongodb://db.example:27017":                  "mongodb://db.example:27017",
		"mongo://oak:hunter2@db.example":              "(unreadable)",
		"mongodb://oak:hun/er2@db.example":            "(unreadable)",
	} {
		if got := Redacted(uri); got != want {
			t.Errorf("%s is printed as %s, want %s", uri, got, want)
		}
	}
	for _, uri := range []string{"mongodb://oak:hunter2@127.0.0.1:1:2", "mongo://oak:hunter2@x", "mongodb://oak:hunter2@host/?tls=maybe"} {
		_, _, err := Open(t.Context(), uri)
		if !errors.Is(err, errs.Invalid) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "MONGO_URL") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String()
	ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, err = Open(ctx, "mongodb://oak:hunter2@"+at)
	if !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), "MONGO_URL") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestTheDatabaseOfAURI(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://h": "oakestra", "mongodb://h/": "oakestra", "mongodb://h/mine": "mine", "mongodb://u:p@a,b:1/mine?replicaSet=r": "mine",
		"mongodb://a:27017,b:27018/mine": "mine",
	} {
		if got := databaseOf(uri); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}

func TestFreshOnce(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		uri := database(t, server, t.TempDir())
		for _, want := range []bool{true, false} {
			s, fresh, err := Open(t.Context(), uri)
			if err != nil || fresh != want {
				t.Fatalf("fresh = %v, want %v (%v)", fresh, want, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestANewerFormatIsRefused(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		uri := database(t, server, t.TempDir())
		s := connect(t, uri)
		if _, err := s.meta.update(t.Context(), metaID, func(r *metaRecord) error { r.Format = 99; return nil }); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(t.Context(), uri); !errors.Is(err, errs.Internal) || !strings.Contains(err.Error(), "99") {
			t.Errorf("%v", err)
		}
	})
}

// A server that stops while it is used makes calls fail, not hang.
func TestACallEndsWithItsContext(t *testing.T) {
	servers(t, func(t *testing.T, server string) {
		s := connect(t, database(t, server, t.TempDir()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if _, err := s.Meta().NextGrant(ctx); !errors.Is(err, errs.Unavailable) {
			t.Errorf("%v", err)
		}
	})
}
