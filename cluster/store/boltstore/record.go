package boltstore

import (
	"encoding/json"
	"fmt"

	"oakestra/pkg/errs"
)

const recordVersion = 1

type record struct {
	Version int             `json:"v"`
	Body    json.RawMessage `json:"body"`
}

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
