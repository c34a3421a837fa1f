// Command openapi makes the OpenAPI 3.0 document of the root from swag's 2.0
// document, and puts the quick start's descriptor into both as the example of
// every operation that takes a descriptor, and into every operation the answers
// that all of its kind may give (common.go). It fails when the result is not
// valid. `go generate ./root/rest` runs it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

const (
	scheme     = "Bearer"
	descriptor = "Descriptor" // the definition that gets the example
	// someID stands for an id that a reader has to fill in.
	someID = "63f0a1b2c3d4e5f607182930"
)

func main() {
	doc := flag.String("doc", "", "the 2.0 document; gets the example")
	example := flag.String("example", "", "the descriptor of the quick start")
	out := flag.String("out", "", "the 3.0 document to write")
	flag.Parse()
	if err := run(*doc, *example, *out); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(doc, example, out string) error {
	two, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	sample, err := os.ReadFile(example)
	if err != nil {
		return err
	}
	two, three, err := convert(two, sample)
	if err != nil {
		return fmt.Errorf("%s: %w", doc, err)
	}
	if err := os.WriteFile(doc, two, 0o644); err != nil {
		return err
	}
	return os.WriteFile(out, three, 0o644)
}

// convert returns the 2.0 document with the example in it, and the 3.0 one.
func convert(raw, sample []byte) (two, three []byte, err error) {
	if two, err = withExample(raw, sample); err != nil {
		return nil, nil, err
	}
	if two, err = withCommon(two); err != nil {
		return nil, nil, err
	}
	var v2 openapi2.T
	if err := json.Unmarshal(two, &v2); err != nil {
		return nil, nil, err
	}
	v3, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, nil, err
	}
	if err := finish(v3, sample); err != nil {
		return nil, nil, err
	}
	compact, err := json.Marshal(v3)
	if err != nil {
		return nil, nil, err
	}
	if three, err = indented(compact, "", "  "); err != nil {
		return nil, nil, err
	}
	three = append(three, '\n')
	return two, three, validate(three)
}

// withExample puts the example into the definition of a descriptor. The rest
// of the text stays as swag wrote it.
func withExample(raw, sample []byte) ([]byte, error) {
	var d struct {
		Definitions map[string]struct{ Example any }
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	if d.Definitions[descriptor].Example != nil {
		return raw, nil
	}
	begin := []byte("\n        \"" + descriptor + "\": {\n")
	if bytes.Count(raw, begin) != 1 {
		return nil, fmt.Errorf("there is no definition of %s as swag writes it", descriptor)
	}
	text, err := indented(sample, "            ", "    ")
	if err != nil {
		return nil, fmt.Errorf("the example: %w", err)
	}
	return bytes.Replace(raw, begin, fmt.Appendf(nil, "%s            \"example\": %s,\n", begin, text), 1), nil
}

func indented(raw []byte, prefix, indent string) ([]byte, error) {
	var b bytes.Buffer
	err := json.Indent(&b, bytes.TrimSpace(raw), prefix, indent)
	return b.Bytes(), err
}

// finish says in 3.0 what 2.0 has no words for.
func finish(d *openapi3.T, sample []byte) error {
	if len(d.Components.SecuritySchemes) != 1 || d.Components.SecuritySchemes[scheme] == nil {
		return fmt.Errorf("the security definitions are not %s alone", scheme)
	}
	d.Components.SecuritySchemes[scheme].Value = openapi3.NewSecurityScheme().WithType("http").WithScheme("bearer").
		WithDescription("The token that POST /api/auth/login answered, or an API token of POST /api/tokens.")
	examples := 0
	for path, item := range d.Paths.Map() {
		for method, op := range item.Operations() {
			op.OperationID = operationID(method, path)
			if op.RequestBody == nil || op.RequestBody.Value == nil {
				continue
			}
			delete(op.RequestBody.Value.Extensions, "x-originalParamName") // what the converter leaves
			media := op.RequestBody.Value.Content.Get("application/json")
			if media == nil || media.Schema == nil || !strings.HasSuffix(media.Schema.Ref, "/"+descriptor) {
				continue
			}
			var body map[string]any
			if err := json.Unmarshal(sample, &body); err != nil {
				return err
			}
			if strings.HasPrefix(path, "/api/service") {
				if err := intoApplication(body); err != nil {
					return err
				}
			}
			media.Example = body
			examples++
		}
	}
	if examples == 0 {
		return errors.New("no operation takes a descriptor")
	}
	return nil
}

// intoApplication makes the descriptor one that adds to an application.
func intoApplication(body map[string]any) error {
	list, _ := body["applications"].([]any)
	for _, e := range list {
		app, ok := e.(map[string]any)
		if !ok {
			return errors.New("an application of the example is no object")
		}
		app["applicationID"] = someID
	}
	return nil
}

// operationID is what generated clients name their functions by:
// GET /api/service/{id} is getServiceById.
func operationID(method, path string) string {
	id := strings.ToLower(method)
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(path, "/api/"), func(r rune) bool { return strings.ContainsRune("/-_.", r) }) {
		if name, ok := strings.CutPrefix(word, "{"); ok {
			word = "by" + capital(strings.TrimSuffix(name, "}"))
		}
		id += capital(word)
	}
	return id
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// validate reads the document as a client generator would.
func validate(raw []byte) error {
	loader := openapi3.NewLoader()
	d, err := loader.LoadFromData(raw)
	if err != nil {
		return err
	}
	return d.Validate(context.Background(), openapi3.EnableExamplesValidation())
}
