package sla

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
)

// Limits of a descriptor.
const (
	MaxDepth    = 32
	MaxServices = 1000 // of all applications together
	longName    = 30
	shortName   = 10
)

// Parse reads and checks a descriptor. The error is an errs.Problems with
// everything that is wrong; text that is no JSON is one problem without path.
func Parse(data []byte) (Descriptor, []Warning, error) {
	root, err := decode(data)
	if err != nil {
		return Descriptor{}, nil, errs.Problems{{Message: err.Error()}}
	}
	r := &reader{}
	d := r.descriptor(root)
	if err := r.problems.Err(); err != nil {
		return Descriptor{}, nil, err
	}
	return d, r.warnings, nil
}

// decode checks depth before decoding, since decoding nested input costs
// stack.
func decode(data []byte) (any, error) {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return nil, fmt.Errorf("the JSON is nested deeper than %d levels", MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var root any
	if err := dec.Decode(&root); err != nil {
		return nil, notJSON(err, len(data))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the body is not one JSON value: something follows it at byte %d", dec.InputOffset())
	}
	return root, nil
}

func notJSON(err error, size int) error {
	var syntax *json.SyntaxError
	switch {
	case size == 0 || errors.Is(err, io.EOF):
		return errors.New("the body is empty, want a descriptor in JSON")
	case errors.As(err, &syntax):
		return fmt.Errorf("the body is no JSON: %w at byte %d of %d", syntax, syntax.Offset, size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the body is no JSON: it ends early, after %d bytes", size)
	}
	return fmt.Errorf("the body is no JSON: %w", err)
}

func (r *reader) descriptor(root any) Descriptor {
	o, ok := r.object("", root)
	if !ok {
		return Descriptor{}
	}
	d := Descriptor{Customer: o.text("customerID", "")}
	switch v := o.text("sla_version", "v2.0"); v {
	case "v2.0", "v0.2": // v0.2 is a slip that is common in published samples
	default:
		o.bad("sla_version", v, `must be "v2.0"`)
	}
	o.texts("args") // of no use to anybody, but it has a type
	list, given := o.list("applications")
	if !given || len(list) == 0 {
		o.bad("applications", "", "at least one application is needed")
	}
	names := map[string]string{}
	chosen := map[netip.Addr]string{}
	services := 0
	for i, item := range list {
		a, ok := r.application(fmt.Sprintf("applications[%d]", i), item)
		if !ok {
			continue
		}
		key := a.Name + "." + a.Namespace
		if first, twice := names[key]; twice {
			r.bad(a.Path+".application_name", a.Name, "the same name and namespace as "+first)
		}
		names[key] = a.Path
		services += len(a.Services)
		r.chosenOnce(a.Services, chosen)
		d.Applications = append(d.Applications, a)
	}
	if services > MaxServices {
		o.bad("applications", fmt.Sprint(services), fmt.Sprintf("at most %d services in one descriptor", MaxServices))
	}
	return d
}

// chosenOnce refuses an address that two services of one descriptor choose.
func (r *reader) chosenOnce(list []Service, chosen map[netip.Addr]string) {
	for _, s := range list {
		if !s.Address.IsValid() {
			continue
		}
		if first, twice := chosen[s.Address]; twice {
			r.bad(s.Path+".addresses.rr_ip", s.Address.String(), "the same address as "+first)
			continue
		}
		chosen[s.Address] = s.Path
	}
}

func (r *reader) application(path string, v any) (Application, bool) {
	o, ok := r.object(path, v)
	if !ok {
		return Application{}, false
	}
	a := Application{
		Path:        path,
		ID:          model.ApplicationID(o.text("applicationID", "")),
		Name:        o.name("application_name"),
		Namespace:   o.name("application_namespace"),
		Description: o.text("application_desc", ""),
	}
	list, _ := o.list("microservices")
	names := map[string]string{}
	for i, item := range list {
		s, ok := r.service(fmt.Sprintf("%s.microservices[%d]", path, i), item)
		if !ok {
			continue
		}
		key := s.Name + "." + s.Namespace
		if first, twice := names[key]; twice {
			r.bad(s.Path+".microservice_name", s.Name, "the same name and namespace as "+first)
		}
		names[key] = s.Path
		a.Services = append(a.Services, s)
	}
	return a, true
}

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9]+$`)

// name reads a name or namespace: letters and digits, since it becomes part of
// a DNS-like job name. 1-10 characters; up to 30 with a warning, as later
// versions of the original allow.
func (o object) name(key string) string {
	v, given := o.fields[key]
	s, isText := v.(string)
	path := o.at(key)
	switch {
	case !given:
		o.r.bad(path, "", "is missing: 1 to 10 letters and digits")
	case !isText:
		o.r.bad(path, show(v), "must be text of 1 to 10 letters and digits")
	case s == "" || !nameForm.MatchString(s):
		o.r.bad(path, s, "must be 1 to 10 letters and digits, nothing else")
	case len(s) > longName:
		o.r.bad(path, s, fmt.Sprintf("has %d characters, at most %d are possible (10 everywhere)", len(s), longName))
	case len(s) > shortName:
		o.r.warnings = append(o.r.warnings, Warning{path, s, fmt.Sprintf("has %d characters: names over %d are refused by older versions", len(s), shortName)})
	}
	return s
}

// quote shortens a value for a message.
func quote(s string) string {
	const limit = 120
	s = strings.ToValidUTF8(s, "?")
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
