package rest

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documentation are the routes that describe the API and are no part of it.
func documentation(path string) bool {
	return strings.HasPrefix(path, docsPath) || path == document3URL
}

// openapi is what the tests read of a document, 2.0 or 3.0.
type openapi struct {
	Swagger, OpenAPI string
	Security         []map[string][]string
	Tags             []struct{ Name, Description string }
	Paths            map[string]map[string]struct {
		Summary, OperationID string
		Tags                 []string
		Security             []map[string][]string
		RequestBody          *struct {
			Content map[string]struct {
				Schema  map[string]any
				Example any
			}
		}
	}
	SecurityDefinitions map[string]map[string]string // 2.0
	Components          struct {                     // 3.0
		SecuritySchemes map[string]map[string]string
	}
	Definitions map[string]struct{ Example any }
}

func parse(t *testing.T, raw []byte) (d openapi) {
	t.Helper()
	must(t, json.Unmarshal(raw, &d))
	return d
}

// described are the operations of a document by method and path.
func described(t *testing.T, raw []byte) map[string]operation {
	t.Helper()
	d := parse(t, raw)
	schemes := d.SecurityDefinitions
	if schemes == nil {
		schemes = d.Components.SecuritySchemes
	}
	if len(schemes) != 1 || schemes["Bearer"] == nil {
		t.Fatalf("security definitions are %v, want Bearer alone", schemes)
	}
	if d.Security != nil {
		t.Errorf("the document guards every operation by %v; each has to say so itself", d.Security)
	}
	out := map[string]operation{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			o := operation{strings.ToUpper(method), strings.TrimSuffix(path, "/"), false}
			for _, s := range op.Security {
				_, o.guarded = s["Bearer"]
			}
			out[o.method+" "+o.path] = o
		}
	}
	return out
}

func TestBothDocumentsSayTheSame(t *testing.T) {
	two, three := described(t, document), described(t, document3)
	if d := cmp.Diff(two, three, cmp.AllowUnexported(operation{})); d != "" {
		t.Errorf("2.0 - 3.0 + (run: make generate)\n%s", d)
	}
	for name, op := range three {
		if op.guarded == open[name] {
			t.Errorf("%s: 3.0 declares Bearer: %v", name, op.guarded)
		}
	}
	for name := range open {
		if _, ok := three[name]; !ok {
			t.Errorf("%s is said to be open and is in no document", name)
		}
	}
}

func TestDocument3IsForClients(t *testing.T) {
	r := newRig(t)
	served := r.call("", http.MethodGet, document3URL, nil).want(200)
	if served.Body.String() != string(document3) {
		t.Error("another document is served")
	}
	d := parse(t, document3)
	if !strings.HasPrefix(d.OpenAPI, "3.0.") {
		t.Errorf("the version is %q", d.OpenAPI)
	}
	// A client made from this sends "Authorization: Bearer <token>".
	if s := d.Components.SecuritySchemes["Bearer"]; s["type"] != "http" || s["scheme"] != "bearer" {
		t.Errorf("the security scheme is %v", s)
	}
	ids := map[string]string{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			name := method + " " + path
			if other := ids[op.OperationID]; op.OperationID == "" || other != "" {
				t.Errorf("%s: operationId %q, which is also that of %q", name, op.OperationID, other)
			}
			ids[op.OperationID] = name
		}
	}
}

func TestEveryOperationIsExplained(t *testing.T) {
	d := parse(t, document)
	tags := map[string]bool{}
	for _, tag := range d.Tags {
		if tag.Description == "" {
			t.Errorf("tag %s has no description", tag.Name)
		}
		tags[tag.Name] = true
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.Summary == "" {
				t.Errorf("%s %s has no summary", method, path)
			}
			if len(op.Tags) != 1 || !tags[op.Tags[0]] {
				t.Errorf("%s %s has the tags %v; want one of those above New in router.go", method, path, op.Tags)
			}
		}
	}
}

// The example is the quick start's descriptor, and what the documents show
// works as it stands.
func TestExamplesWork(t *testing.T) {
	var seed any
	must(t, json.Unmarshal([]byte(seedDescriptor(t)), &seed))
	if d := cmp.Diff(seed, parse(t, document).Definitions["Descriptor"].Example); d != "" {
		t.Errorf("2.0: file - example + (run: make generate)\n%s", d)
	}
	d := parse(t, document3)
	examples := map[string]any{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.RequestBody == nil {
				continue
			}
			for kind, media := range op.RequestBody.Content {
				if ref, _ := media.Schema["$ref"].(string); strings.HasSuffix(ref, "/Descriptor") {
					if media.Example == nil {
						t.Errorf("%s %s, %s: no example", method, path, kind)
					}
					examples[method+" "+path] = media.Example
				}
			}
		}
	}
	if !reflect.DeepEqual(examples["post /api/application/"], seed) {
		t.Errorf("create has the example %v", examples["post /api/application/"])
	}
	if examples["post /api/service/"] == nil {
		t.Errorf("examples are in %v", slices.Collect(maps.Keys(examples)))
	}
	r := newRig(t)
	r.call("Admin", http.MethodPost, "/api/application/", examples["post /api/application/"]).want(200)
	for name, body := range examples {
		if strings.HasPrefix(name, "post /api/service") { // the id in it is a placeholder
			r.call("Admin", http.MethodPost, "/api/service/", body).refused(404)
		}
	}
}

func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	r := newRig(t)
	page := r.call("", http.MethodGet, docsHome, nil)
	csp := page.Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "script-src") {
		t.Errorf("scripts of others may run: %q", csp)
	}
	for _, text := range []string{page.Body.String(), string(pageScript)} {
		if strings.Contains(text, `src="http`) || strings.Contains(text, `href="http`) || strings.Contains(text, "<script>") {
			t.Errorf("the page refers elsewhere: %s", text)
		}
	}
}
