package boltstore

import (
	"bytes"
	"encoding/json"
	"fmt"

	"oakestra/pkg/errs"
)

const recordVersion = 1

type record struct {
	Version int             `json:"v"`
	Body    json.RawMessage `json:"body"`
}

// written is how every record of this version begins.
var written = fmt.Appendf(nil, `{"v":%d,"body":`, recordVersion)

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w: %w", err, errs.Internal)
	}
	return json.Marshal(record{recordVersion, body})
}

func decode[T any](key, b []byte) (T, error) {
	var r record
	var v T
	// What encode writes needs no search for its body: half of a start with
	// many records.
	if body, ok := bytes.CutPrefix(b, written); ok && bytes.HasSuffix(body, []byte("}")) {
		if json.Unmarshal(body[:len(body)-1], &v) == nil {
			return v, nil
		}
		v = *new(T)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return v, fmt.Errorf("record %q is damaged: %w: %w", key, err, errs.Internal)
	}
	if r.Version != recordVersion {
		return v, fmt.Errorf("record %q has version %d, this program reads %d: %w", key, r.Version, recordVersion, errs.Internal)
	}
	if err := json.Unmarshal(r.Body, &v); err != nil {
		return v, fmt.Errorf("record %q is damaged: %w: %w", key, err, errs.Internal)
	}
	return v, nil
}
