package sla

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// Fields of a descriptor that nothing here acts upon. Clients send them and
// want them back, so their types are checked and they are kept. What asks for
// something that will not happen is answered with a warning.

const maxCount = 1 << 40 // of a number that is only kept

var keptFields = []struct{ key, kind, warning string }{
	{"args", "texts", "is not passed on; write arguments into cmd"},
	{"added_files", "texts", "is kept but adds no files"},
	{"vm_images", "texts", "is kept; no runtime here takes images of machines"},
	{"state", "text", ""},
	{"sla_violation_strategy", "text", "is kept; an instance that ends is started again"},
	{"target_node", "text", `is kept but restricts nothing; use a constraint of type "direct"`},
	{"platform", "text", "is kept but chooses nothing; use arch"},
	{"vtpus", "count", "is kept but reserves nothing"},
	{"bandwidth_in", "count", "is kept but limits nothing"},
	{"bandwidth_out", "count", "is kept but limits nothing"},
}

// kept checks those fields and returns the ones that say anything as a JSON
// object, "" when none does. Its keys are sorted, so equal fields make equal
// text.
func (o object) kept() string {
	out := map[string]any{}
	keep := func(key string, says bool, warning string) {
		if !says {
			return
		}
		out[key] = o.fields[key]
		if warning != "" {
			o.r.warn(o.at(key), show(o.fields[key]), warning)
		}
	}
	for _, f := range keptFields {
		says := false
		switch f.kind {
		case "texts":
			says = len(o.texts(f.key)) > 0
		case "text":
			says = o.text(f.key, "") != ""
		case "count":
			n := int64(o.amount(true, maxCount, f.key))
			if keep(f.key, n > 0, f.warning); n > 0 {
				out[f.key] = n // 2.0 and 2e0 are 2
			}
			continue
		}
		keep(f.key, says, f.warning)
	}
	keep("privileged", o.flag("privileged"), "is kept; containers run with the default privileges")
	keep("volumes", o.volumes(), "is kept; nothing is mounted")
	keep("connectivity", o.connectivity(), "is kept but places nothing")
	if list := o.keptConstraints(); len(list) > 0 {
		out["constraints"] = list
	}
	if a := o.keptAddresses(); len(a) > 0 {
		out["addresses"] = a
	}
	if len(out) == 0 {
		return ""
	}
	data, err := json.Marshal(out)
	if err != nil {
		o.bad("", "", fmt.Sprintf("cannot be kept: %v", err)) // it was JSON a moment ago
	}
	return string(data)
}

// each reads an array of objects.
func (o object) each(key string, f func(object)) (any bool) {
	items, _ := o.list(key)
	for i, item := range items {
		if c, ok := o.r.object(fmt.Sprintf("%s[%d]", o.at(key), i), item); ok {
			f(c)
		}
	}
	return len(items) > 0
}

// need is a text that must be there.
func (o object) need(key string) string {
	s := o.text(key, "")
	if s == "" && !o.r.wrong(o.at(key)) {
		o.bad(key, "", "is missing")
	}
	return s
}

func (o object) volumes() bool {
	return o.each("volumes", func(v object) {
		v.need("volume_id")
		v.need("csi_driver")
		v.text("mount_path", "")
		if c := v.fields["config"]; c != nil {
			v.r.object(v.at("config"), c)
		}
	})
}

func (o object) connectivity() bool {
	return o.each("connectivity", func(c object) {
		c.need("target_microservice_id")
		c.each("con_constraints", func(k object) {
			k.need("type")
			k.terms()
		})
	})
}

// terms are the numbers of a constraint.
func (o object) terms() {
	for _, key := range []string{"threshold", "rigidness", "convergence_time"} {
		o.amount(false, maxCount, key)
	}
}

func (o object) keptConstraints() []any {
	items, _ := o.fields["constraints"].([]any) // constraints() has complained
	var out []any
	for i, item := range items {
		fields, ok := item.(map[string]any)
		if !ok {
			continue
		}
		c := object{r: o.r, path: fmt.Sprintf("%s[%d]", o.at("constraints"), i), fields: fields}
		kind, _ := fields["type"].(string)
		switch kind {
		case "latency", "geo":
			c.terms()
			for _, key := range []string{"area", "location"} {
				c.text(key, "")
			}
			o.r.warn(c.at("type"), kind, "is kept but restricts nothing")
		case "addons":
			c.texts("needs")
			o.r.warn(c.at("type"), kind, "is kept but restricts nothing: there are no addons")
		default:
			continue
		}
		out = append(out, item)
	}
	return out
}

// keptAddresses are addresses besides rr_ip.
func (o object) keptAddresses() map[string]any {
	fields, ok := o.fields["addresses"].(map[string]any) // chosenAddress has complained
	if !ok {
		return nil
	}
	a := object{r: o.r, path: o.at("addresses"), fields: fields}
	out := map[string]any{}
	for _, key := range []string{"closest_ip", "rr_ip_v6", "closest_ip_v6"} {
		text := a.text(key, "")
		if text == "" {
			continue
		}
		if _, err := netip.ParseAddr(text); err != nil {
			a.bad(key, text, "must be an address")
		}
		a.r.warn(a.at(key), text, "is kept but not served; rr_ip is")
		out[key] = text
	}
	says := a.each("instances", func(in object) {
		for _, key := range []string{"from", "to", "start"} {
			if in.fields[key] == nil {
				continue
			}
			if _, number := in.fields[key].(json.Number); !number {
				in.text(key, "")
			}
		}
	})
	if says {
		a.r.warn(a.at("instances"), "", "is kept but not served; instances get addresses of their own")
		out["instances"] = fields["instances"]
	}
	return out
}
