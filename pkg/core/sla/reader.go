package sla

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"oakestra/pkg/errs"
)

// reader collects what is wrong while the tree is read.
type reader struct {
	problems errs.Problems
	warnings []Warning
}

func (r *reader) bad(path, value, message string) {
	r.problems = append(r.problems, errs.Problem{Path: path, Value: quote(value), Message: message})
}

// wrong says whether something is known to be wrong at a path.
func (r *reader) wrong(path string) bool {
	return slices.ContainsFunc(r.problems, func(p errs.Problem) bool { return p.Path == path })
}

func (r *reader) warn(path, value, message string) {
	r.warnings = append(r.warnings, Warning{path, quote(value), message})
}

// object is a JSON object at a path.
type object struct {
	r      *reader
	path   string
	fields map[string]any
}

func (r *reader) object(path string, v any) (object, bool) {
	fields, ok := v.(map[string]any)
	if !ok {
		r.bad(path, show(v), "must be an object")
	}
	return object{r: r, path: path, fields: fields}, ok
}

func (o object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

func (o object) bad(key, value, message string) { o.r.bad(o.at(key), value, message) }

// text reads a string; a missing or null one is the fallback.
func (o object) text(key, fallback string) string {
	v, given := o.fields[key]
	if !given || v == nil {
		return fallback
	}
	s, ok := v.(string)
	if !ok {
		o.bad(key, show(v), "must be text")
	}
	return s
}

// flag reads a boolean; missing is false.
func (o object) flag(key string) bool {
	v, given := o.fields[key]
	if !given || v == nil {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		o.bad(key, show(v), "must be true or false")
	}
	return b
}

// list reads an array; given is false for a missing or null one.
func (o object) list(key string) (items []any, given bool) {
	v, given := o.fields[key]
	if !given || v == nil {
		return nil, false
	}
	items, ok := v.([]any)
	if !ok {
		o.bad(key, show(v), "must be a list")
	}
	return items, ok
}

// texts reads an array of strings.
func (o object) texts(key string) []string {
	items, _ := o.list(key)
	var out []string
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			o.bad(fmt.Sprintf("%s[%d]", key, i), show(item), "must be text")
			continue
		}
		out = append(out, s)
	}
	return out
}

// amount reads a number >= 0 under the first of the keys that is there.
// Whole-number amounts refuse fractions.
func (o object) amount(whole bool, limit float64, keys ...string) float64 {
	for _, key := range keys {
		v, given := o.fields[key]
		if !given || v == nil {
			continue
		}
		number, ok := v.(json.Number)
		if !ok {
			value, quoted := v.(string)
			if !quoted {
				value = show(v)
			}
			o.bad(key, value, "must be a number")
			return 0
		}
		text := number.String()
		n, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
			o.bad(key, text, "must be a number")
		case n < 0:
			o.bad(key, text, "must not be negative")
		case n > limit:
			o.bad(key, text, fmt.Sprintf("must not exceed %.0f", limit))
		case whole && n != math.Trunc(n):
			o.bad(key, text, "must be a whole number")
		default:
			return n
		}
		return 0
	}
	return 0
}

// show prints a wrong value as JSON.
func show(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}
