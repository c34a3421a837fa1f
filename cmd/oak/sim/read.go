package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"oakestra/pkg/errs"
)

// Read reads a scenario; what it leaves out is as in Default. Errors are
// errs.Problems that name field and value.
func Read(r io.Reader) (Scenario, error) {
	s := Default()
	s.Name, s.Steps = "", nil
	data, err := io.ReadAll(r)
	if err != nil {
		return s, fmt.Errorf("scenario: %w: %w", err, errs.Unavailable)
	}
	if err := wellFormed(data); err != nil {
		return s, err
	}
	var p errs.Problems
	fields, ok := object("scenario", "", data, &s, &p)
	if ok {
		p = append(p, steps(fields["steps"], &s)...)
	}
	if err := p.Err(); err != nil {
		return s, err
	}
	return s, s.Validate()
}

// wellFormed says on which line the text is no JSON, or goes on after it.
func wellFormed(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	var value json.RawMessage
	err := dec.Decode(&value)
	message, offset := "", len(data)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		message, offset = syntax.Error(), int(syntax.Offset)
	case errors.Is(err, io.EOF):
		message = "is empty"
	case err != nil: // io.ErrUnexpectedEOF
		message = "ends in the middle"
	default:
		rest := bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n")
		if len(rest) == 0 {
			return nil
		}
		message, offset = "something follows the scenario", len(data)-len(rest)
	}
	line := 1 + bytes.Count(data[:min(offset, len(data))], []byte("\n"))
	return errs.Problems{{Path: "scenario", Message: fmt.Sprintf("line %d: %s", line, message)}}
}

// steps decodes the list of steps one by one, so that each mistake has a place.
func steps(data json.RawMessage, s *Scenario) (p errs.Problems) {
	if data == nil {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		return errs.Problems{{Path: "steps", Value: short(data), Message: "want a list"}}
	}
	for i, raw := range list {
		var step Step
		object(fmt.Sprintf("steps[%d]", i), fmt.Sprintf("steps[%d].", i), raw, &step, &p)
		s.Steps = append(s.Steps, step)
	}
	return p
}

// object decodes an object field by field into a struct and notes what is
// unknown or of another type. Lists are left to the caller.
func object(path, prefix string, data json.RawMessage, into any, p *errs.Problems) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil || fields == nil {
		*p = append(*p, errs.Problem{Path: path, Value: short(data), Message: "want an object"})
		return nil, false
	}
	at, known := reflect.ValueOf(into).Elem(), map[string]reflect.Value{}
	for i := range at.NumField() {
		name, _, _ := strings.Cut(at.Type().Field(i).Tag.Get("json"), ",")
		known[name] = at.Field(i)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, ok := known[name]
		switch {
		case !ok:
			*p = append(*p, errs.Problem{Path: prefix + name, Value: short(fields[name]), Message: fmt.Sprintf("unknown field, want one of %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))})
		case field.Kind() != reflect.Slice && json.Unmarshal(fields[name], field.Addr().Interface()) != nil:
			*p = append(*p, errs.Problem{Path: prefix + name, Value: short(fields[name]), Message: "want " + kindOf(field)})
		}
	}
	return fields, true
}

func kindOf(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String:
		return "a text in quotes"
	case v.CanFloat():
		return "a number"
	}
	return "a whole number"
}

// short is a value as it was written, on one line and not endless.
func short(data json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return strconv.Quote(string(data))
	}
	if text := []rune(b.String()); len(text) > 60 {
		return string(text[:60]) + "..."
	}
	return b.String()
}
