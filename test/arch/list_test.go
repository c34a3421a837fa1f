package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "oakestra"

// source is a package as `go list -json` knows it.
type source struct {
	ImportPath     string
	Name           string
	Dir            string
	GoFiles        []string
	IgnoredGoFiles []string // for other systems or behind build tags
	TestGoFiles    []string
	XTestGoFiles   []string
	Imports        []string
	TestImports    []string
	XTestImports   []string
}

// path is relative to the module: "pkg/errs".
func (p source) path() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// own lists the files that are no tests.
func (p source) own() []string {
	files := slices.Clone(p.GoFiles)
	for _, f := range p.IgnoredGoFiles {
		if !strings.HasSuffix(f, "_test.go") {
			files = append(files, f)
		}
	}
	return files
}

var list = sync.OnceValues(func() ([]source, error) {
	cmd := exec.Command("go", "list", "-e", "-json", "./...")
	cmd.Dir = "../.."
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(failed.String()))
	}
	var all []source
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p source
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

// packages lists every package of the module. The root of the module must hold
// the well-known ones, else a check would pass by looking at nothing.
func packages(t *testing.T) []source {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{"pkg/errs", "pkg/core/model", "api/mqtt"} {
		if !slices.ContainsFunc(all, func(p source) bool { return p.path() == known }) {
			t.Fatalf("go list does not know %s", known)
		}
	}
	return all
}

// within says whether a path is a folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// ours is the path of an import inside this module.
func ours(imported string) (path string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
