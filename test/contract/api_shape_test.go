package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func contains(b []byte, text string) bool { return bytes.Contains(b, []byte(text)) }

// document is what /api/openapi.json says.
type document struct {
	Paths      map[string]map[string]operation
	Components struct {
		Schemas map[string]schema
	}
}

type operation struct {
	Security    []map[string]any
	RequestBody *struct{}
	Responses   map[string]struct {
		Content map[string]struct{ Schema schema }
	}
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Items      *schema
	Properties map[string]schema
	AllOf      []schema
	Enum       []any
}

// operations by "METHOD /path" without the last slash.
func (d document) operations() map[string]operation {
	out := map[string]operation{}
	for path, methods := range d.Paths {
		for m, o := range methods {
			out[strings.ToUpper(m)+" "+strings.TrimSuffix(path, "/")] = o
		}
	}
	return out
}

// operation finds the one that a request is for.
func (d document) operation(method, path string) (operation, bool) {
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	best, found, fixed := operation{}, false, -1
	for pattern, methods := range d.Paths {
		o, there := methods[strings.ToLower(method)]
		names := strings.Split(strings.TrimSuffix(pattern, "/"), "/")
		if !there || len(names) != len(parts) {
			continue
		}
		same := 0
		for i, name := range names {
			switch {
			case name == parts[i]:
				same++
			case !strings.HasPrefix(name, "{"):
				same = -len(names)
			}
		}
		if same > fixed { // /api/clusters/active is not /api/clusters/{id}
			best, found, fixed = o, true, same
		}
	}
	return best, found
}

// wrong lists where a value is not of a schema: another type, null, a field
// that is not declared.
func (d document) wrong(s schema, at string, v any) []string {
	if ref, is := strings.CutPrefix(s.Ref, "#/components/schemas/"); is {
		named, there := d.Components.Schemas[ref]
		if !there {
			return []string{at + " is of " + ref + ", which is not declared"}
		}
		return d.wrong(named, at, v)
	}
	if len(s.AllOf) == 1 {
		return d.wrong(s.AllOf[0], at, v)
	}
	if got := kindOf(v); !fits(got, s.Type) {
		return []string{fmt.Sprintf("%s is %s, the document says %s", at, got, s.Type)}
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		return []string{fmt.Sprintf("%s is %v, the document says %v", at, v, s.Enum)}
	}
	var out []string
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			if s.Items != nil {
				out = append(out, d.wrong(*s.Items, fmt.Sprintf("%s[%d]", at, i), e)...)
			}
		}
	case map[string]any:
		for name, e := range v {
			field, declared := s.Properties[name]
			if !declared {
				out = append(out, at+"."+name+" is not declared")
				continue
			}
			out = append(out, d.wrong(field, at+"."+name, e)...)
		}
	}
	return out
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number"
		}
		return "integer"
	}
	return fmt.Sprintf("%T", v)
}

// fits says whether a JSON kind is what is wanted; "" is anything but null.
func fits(got, want string) bool {
	return got == want || want == "number" && got == "integer" || want == "" && got != "null"
}

// letters of shapes.
var letters = map[string]string{"s": "string", "i": "integer", "n": "number", "b": "boolean", "a": "array", "o": "object"}

// lacks lists what a value has not of a shape: the fields that every answer
// has, as old clients know them, with the letter of their kind ("name:s
// count:i"). "[]" before it means a list of such, a letter alone a bare value;
// seen is false for a list without elements.
func lacks(shape, at string, v any) (out []string, seen bool) {
	if rest, is := strings.CutPrefix(shape, "[]"); is {
		list, ok := v.([]any)
		if !ok {
			return []string{at + " is no array"}, false
		}
		for i, e := range list {
			more, _ := lacks(rest, fmt.Sprintf("%s[%d]", at, i), e)
			out = append(out, more...)
		}
		return out, len(list) > 0
	}
	if kind, whole := letters[shape]; whole {
		if got := kindOf(v); !fits(got, kind) {
			return []string{fmt.Sprintf("%s is %s, clients want %s", at, got, kind)}, true
		}
		return nil, true
	}
	o, ok := v.(map[string]any)
	if !ok {
		return []string{at + " is no object"}, true
	}
	for f := range strings.FieldsSeq(shape) {
		name, kind, _ := strings.Cut(f, ":")
		if got := kindOf(o[name]); !fits(got, letters[kind]) {
			out = append(out, fmt.Sprintf("%s.%s is %s, clients want %s", at, name, got, letters[kind]))
		}
	}
	return out, true
}

// parse reads JSON with numbers as they were written.
func parse(t *testing.T, raw []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return v
}

// refused checks the body of an error.
func (r *apiRig) refused(t *testing.T, a answer) {
	t.Helper()
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		t.Errorf("%d comes as %q: %s", a.code, ct, a.body)
		return
	}
	v := parse(t, a.body)
	wrong := r.doc.wrong(schema{Ref: "#/components/schemas/Error"}, "error", v)
	more, _ := lacks("code:i status:s message:s request_id:s", "error", v)
	if wrong = append(wrong, more...); len(wrong) > 0 {
		t.Errorf("%d: %s in %s", a.code, strings.Join(wrong, "; "), a.body)
	}
	var e struct {
		Code            int
		Status, Message string
	}
	a.into(t, &e)
	if e.Code != a.code || e.Status != http.StatusText(a.code) || e.Message == "" {
		t.Errorf("%d: the body is %s", a.code, a.body)
	}
	if a.code == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
}

// answered checks a success; seen is false for a list without elements.
func (r *apiRig) answered(t *testing.T, op operation, shape string, a answer) (seen bool) {
	t.Helper()
	want, declared := op.Responses["200"].Content["application/json"]
	if !declared {
		for kind := range op.Responses["200"].Content {
			if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, kind) {
				t.Errorf("comes as %q, the document says %s", ct, kind)
			}
		}
		if !contains(a.body, shape) {
			t.Errorf("no %q in %q", shape, a.body)
		}
		return true
	}
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		t.Errorf("comes as %q", ct)
	}
	v := parse(t, a.body)
	wrong, seen := lacks(shape, "answer", v)
	if wrong = append(wrong, r.doc.wrong(want.Schema, "answer", v)...); len(wrong) > 0 {
		t.Errorf("%s in %s", strings.Join(wrong, "; "), a.body)
	}
	return seen
}
