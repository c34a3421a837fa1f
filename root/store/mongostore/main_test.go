package mongostore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
)

// The servers to test against.
const (
	realEnv   = "OAK_TEST_MONGO_URI" // of a real MongoDB
	ferretEnv = "OAK_TEST_FERRETDB"  // path of the program that test/ferretdb builds
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopFerret()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var ferret struct {
	once sync.Once
	cmd  *exec.Cmd
	in   io.Closer
	dir  string
	uri  string
	err  error
}

// ferretURI starts FerretDB once per process.
func ferretURI(t *testing.T) string {
	t.Helper()
	path := os.Getenv(ferretEnv)
	if path == "" {
		t.Skipf("SKIPPED: needs FerretDB; run: test/run.sh mongo")
	}
	ferret.once.Do(func() { ferret.err = startFerret(path) })
	if ferret.err != nil {
		t.Fatalf("start FerretDB: %v", ferret.err)
	}
	return ferret.uri
}

func startFerret(path string) error {
	dir, err := os.MkdirTemp("", "ferretdb")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "-dir", dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ferret.cmd, ferret.in, ferret.dir = cmd, in, dir
	line, err := bufio.NewReader(out).ReadString('\n')
	ferret.uri = strings.TrimSuffix(strings.TrimSpace(line), "/")
	return err
}

func stopFerret() {
	if ferret.cmd == nil {
		return
	}
	ferret.in.Close()
	_ = ferret.cmd.Wait() // it has served its purpose
	os.RemoveAll(ferret.dir)
}

// realURI is a real server's, where there is one.
func realURI(t *testing.T) string {
	t.Helper()
	uri := os.Getenv(realEnv)
	if uri == "" {
		t.Skipf("SKIPPED: needs a MongoDB (a replica set); run: %s=mongodb://host:27017 test/run.sh mongo", realEnv)
	}
	return uri
}

// database is a URI with a database of its own for dir, which is dropped when
// the test ends.
func database(t *testing.T, server, dir string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(dir))
	name := "oaktest_" + hex.EncodeToString(sum[:8])
	base, query, _ := strings.Cut(server, "?")
	if query != "" {
		query = "?" + query
	}
	uri := strings.TrimSuffix(base, "/") + "/" + name + query
	t.Cleanup(func() {
		client, err := mongo.Connect(options.Client().ApplyURI(uri))
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := client.Database(name).Drop(ctx); err != nil {
			t.Errorf("drop %s: %v", name, err)
		}
		if err := client.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return uri
}

// servers runs a test on every server there is.
func servers(t *testing.T, f func(t *testing.T, uri string)) {
	t.Run("FerretDB", func(t *testing.T) { f(t, ferretURI(t)) })
	t.Run("MongoDB", func(t *testing.T) { f(t, realURI(t)) })
}

// connect opens a store of its own.
func connect(t *testing.T, uri string) *Store {
	t.Helper()
	s, _, err := Open(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
