package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// common are the answers that an operation gives for reasons that are not its
// own; the comments in the code name the others.
var common = []struct {
	status, why string
	when        func(o operation, path string) bool
}{
	{"408", "the body does not come to its end within 30 s", operation.readsBody},
	{"413", "the body has more than 1 MiB, from callers without a token 64 KiB", operation.readsBody},
	{"503", "the store does not answer, or no system manager of several leads; Retry-After says when to try again", inAPI},
}

// operation is what decides which of them it has.
type operation struct {
	Parameters []struct{ In string }
	Responses  map[string]any
}

func (o operation) readsBody(string) bool {
	for _, p := range o.Parameters {
		if p.In == "body" {
			return true
		}
	}
	return false
}

// inAPI: probes look at this process alone.
func inAPI(_ operation, path string) bool { return strings.HasPrefix(path, "/api/") }

// Lines as swag indents them.
const (
	pathLine   = "        \""
	methodLine = "            \""
	listLine   = "                \"responses\": {"
	listEnd    = "                }"
	statusLine = "                    \""
	statusEnd  = "                    }"
)

// withCommon adds them to every operation that does not have its own words for
// them. The rest of the text stays as swag wrote it.
func withCommon(raw []byte) ([]byte, error) {
	var d struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	left := 0
	for _, methods := range d.Paths {
		left += len(methods)
	}
	var out []string
	var path, method string
	lines := strings.Split(string(raw), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out = append(out, line)
		switch {
		case strings.HasPrefix(line, pathLine):
			path, method = word(line), ""
		case strings.HasPrefix(line, methodLine):
			method = word(line)
		case line == listLine:
			end := slices.IndexFunc(lines[i:], func(l string) bool { return strings.TrimSuffix(l, ",") == listEnd })
			o, there := d.Paths[path][method]
			if end < 0 || !there {
				return nil, fmt.Errorf("the responses of %s %s are not as swag writes them", method, path)
			}
			out = append(out, merged(lines[i+1:i+end], path, o)...)
			i += end - 1
			left--
		}
	}
	if left != 0 {
		return nil, fmt.Errorf("%d operations have no responses as swag writes them", left)
	}
	return []byte(strings.Join(out, "\n")), nil
}

// word is the name at the begin of a line.
func word(line string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(line, " \""), `"`)
	return name
}

// merged adds to the lines of responses what is missing, by status.
func merged(lines []string, path string, o operation) []string {
	byStatus := map[string][]string{}
	var statuses []string
	for _, line := range lines {
		if strings.HasPrefix(line, statusLine) {
			statuses = append(statuses, word(line))
		}
		last := statuses[len(statuses)-1]
		if line == statusEnd+"," {
			line = statusEnd
		}
		byStatus[last] = append(byStatus[last], line)
	}
	for _, c := range common {
		if _, there := o.Responses[c.status]; there || !c.when(o, path) {
			continue
		}
		statuses = append(statuses, c.status)
		byStatus[c.status] = strings.Split(fmt.Sprintf(`"%s": {
    "description": %q,
    "schema": {
        "$ref": "#/definitions/Error"
    }
}`, c.status, c.why), "\n")
		for i, line := range byStatus[c.status] {
			byStatus[c.status][i] = statusEnd[:len(statusEnd)-1] + line
		}
	}
	slices.Sort(statuses)
	var out []string
	for i, s := range statuses {
		out = append(out, byStatus[s]...)
		if i < len(statuses)-1 {
			out[len(out)-1] += ","
		}
	}
	return out
}
