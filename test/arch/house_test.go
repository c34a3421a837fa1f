package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	maxLines     = 600
	maxTestLines = 900
	maxMethods   = 8
)

// bigger lists interfaces that are fixed with more than maxMethods methods.
var bigger = map[string]bool{
	"root/store.Store":       true, // one getter per aggregate
	"cluster/tables.Network": true, // one method per message of the network plane
	"netmanager/host.Host":   true, // one method per kind of kernel object
}

var banned = []string{
	"util", "utils", "common", "helper", "helpers", "misc", "base", "manager", "models", "types",
	"interfaces", "impl", "lib", "shared", "tools", "internal",
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 && len(p.IgnoredGoFiles) == 0 {
			continue // tests only
		}
		if p.Name == "main" {
			if !documented(t, p) {
				t.Errorf("%s: no file has a package comment", p.path())
			}
			continue
		}
		if !slices.Contains(p.own(), "doc.go") {
			t.Errorf("%s has no doc.go: what it is, what not, invariants, who calls", p.path())
		} else if !documented(t, p) {
			t.Errorf("%s: doc.go has no package comment", p.path())
		}
	}
}

func documented(t *testing.T, p source) bool {
	t.Helper()
	for _, f := range p.own() {
		if p.Name != "main" && f != "doc.go" {
			continue
		}
		if parse(t, filepath.Join(p.Dir, f)).Doc.Text() != "" {
			return true
		}
	}
	return false
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestPackageNamesSayWhatTheyHold(t *testing.T) {
	form := regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	for _, p := range packages(t) {
		if p.Name == "main" {
			continue
		}
		parts := strings.Split(p.path(), "/")
		last := parts[len(parts)-1]
		if slices.Contains(banned, p.Name) || slices.Contains(banned, last) {
			t.Errorf("%s: the name says nothing", p.path())
		}
		version := regexp.MustCompile(`^v\d+$`).MatchString(last)
		if !form.MatchString(p.Name) || p.Name != last && !version {
			t.Errorf("%s: package %s must be one lower-case noun, the same as its folder", p.path(), p.Name)
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range slices.Concat(p.own(), p.TestGoFiles, p.XTestGoFiles) {
			data, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			limit := maxLines
			if strings.HasSuffix(f, "_test.go") || within(p.path(), "test") {
				limit = maxTestLines
			}
			if n := bytes.Count(data, []byte("\n")); n > limit && !generated(data) {
				t.Errorf("%s/%s has %d lines, the limit is %d: split it", p.path(), f, n, limit)
			}
		}
	}
}

var generatedForm = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func generated(data []byte) bool { return generatedForm.Match(data) }

// declared walks the types of the packages that are no tests.
func declared(t *testing.T, visit func(p source, spec *ast.TypeSpec)) {
	t.Helper()
	for _, p := range packages(t) {
		for _, f := range p.own() {
			tree := parse(t, filepath.Join(p.Dir, f))
			if ast.IsGenerated(tree) {
				continue
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					visit(p, spec)
				}
				return true
			})
		}
	}
}

func TestInterfacesStaySmall(t *testing.T) {
	declared(t, func(p source, spec *ast.TypeSpec) {
		i, ok := spec.Type.(*ast.InterfaceType)
		if !ok || bigger[p.path()+"."+spec.Name.Name] {
			return
		}
		if n := i.Methods.NumFields(); n > maxMethods {
			t.Errorf("%s.%s has %d methods, the limit is %d", p.path(), spec.Name.Name, n, maxMethods)
		}
	})
}

func TestTheDomainKnowsNoEncoding(t *testing.T) {
	declared(t, func(p source, spec *ast.TypeSpec) {
		fields, ok := spec.Type.(*ast.StructType)
		if !ok || !within(p.path(), "pkg/core") {
			return
		}
		for _, f := range fields.Fields.List {
			if f.Tag == nil {
				continue
			}
			text, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"json", "bson", "yaml", "protobuf"} {
				if _, has := reflect.StructTag(text).Lookup(key); has {
					t.Errorf("%s.%s has a %s tag: wire shapes belong to a convert.go", p.path(), spec.Name.Name, key)
				}
			}
		}
	})
}

func TestNothingRegistersItselfAtStart(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.own() {
			tree := parse(t, filepath.Join(p.Dir, f))
			if ast.IsGenerated(tree) {
				continue
			}
			for _, d := range tree.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s has an init function", p.path(), f)
				}
			}
		}
	}
}

// home matches paths that exist on one machine only. The pieces are joined
// here so that this file does not match itself.
var home = regexp.MustCompile(`(^|[\s"'=:(` + "`" + `])/(?:` + strings.Join([]string{"home/[a-z]", "Users/[A-Za-z]", "root/[a-z.]", "work/(?:main|shared)"}, "|") + `)`)

// allowedPaths are words that look like a home: paths of the API and of users
// in general, and the home inside curl's image, in its passwd, which the
// stand-in of test/images has to copy.
var allowedPaths = regexp.MustCompile(`/home/\$|/home/curl_user:|/root/(?:go/|sdk/|\.cache)`)

func TestNoFileNamesAPathOfOneMachine(t *testing.T) {
	dir := repository(t)
	for _, f := range tracked(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, f))
		if os.IsNotExist(err) {
			continue // removed and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
			continue // binary
		}
		for i, line := range strings.Split(string(data), "\n") {
			if m := home.FindString(line); m != "" && !allowedPaths.MatchString(line) {
				t.Errorf("%s:%d names %q", f, i+1, strings.TrimSpace(m))
			}
		}
	}
}

// tracked lists the files of the repository; without git, the sources.
func tracked(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z")
	cmd.Dir = dir
	if out, err := cmd.Output(); err == nil {
		return slices.DeleteFunc(strings.Split(string(out), "\x00"), func(f string) bool {
			info, err := os.Lstat(filepath.Join(dir, f))
			return f == "" || err == nil && !info.Mode().IsRegular()
		})
	}
	var files []string
	for _, p := range packages(t) {
		for _, f := range slices.Concat(p.own(), p.TestGoFiles, p.XTestGoFiles) {
			files = append(files, filepath.Join(strings.TrimPrefix(p.path(), "/"), f))
		}
	}
	return files
}
