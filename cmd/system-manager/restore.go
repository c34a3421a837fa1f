package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"oakestra/root/store"
	"oakestra/root/store/boltstore"
	"oakestra/root/witness"
)

// restore makes a backup the store of a data directory. The witness is made to
// remember a later incarnation and every cluster of the backup: so the next
// start is a recovery that awaits them, allocates nothing before, and removes
// nothing.
func restore(data, file string, out io.Writer) error {
	path := filepath.Join(data, "root.db")
	kept, err := boltstore.Restore(file, path, time.Now())
	if err != nil {
		return err
	}
	if kept != "" {
		fmt.Fprintf(out, "the store that was there is kept as %s\n", kept)
	}
	memory, err := witness.Open(filepath.Join(data, "witness.json"))
	if err != nil {
		return err
	}
	st, _, err := boltstore.Open(path)
	if err != nil {
		return err
	}
	names, err := expectRecovery(st, memory)
	if err := errors.Join(err, st.Close()); err != nil {
		return fmt.Errorf("prepare the recovery: %w", err)
	}
	fmt.Fprintf(out, "restored %s\nstart the system-manager as usual: it is in recovery until these clusters have reported: %v\nto go on without those that are gone: oak recover --accept\n", file, names)
	return nil
}

func expectRecovery(st store.Store, memory *witness.File) ([]string, error) {
	ctx := context.Background()
	stored, err := st.Meta().Incarnation(ctx)
	if err != nil {
		return nil, err
	}
	list, err := st.Clusters().List(ctx)
	if err != nil {
		return nil, err
	}
	r := memory.Record()
	r.Incarnation = max(r.Incarnation, stored+1)
	r.Clusters = slices.Clone(r.Clusters)
	for _, c := range list {
		if !slices.ContainsFunc(r.Clusters, func(v witness.Cluster) bool { return v.ID == string(c.ID) }) {
			r.Clusters = append(r.Clusters, witness.Cluster{ID: string(c.ID), Name: c.Name, KeyHash: c.KeyHash})
		}
	}
	// The password of Admin comes with the backup.
	r.AdminHash = ""
	var names []string
	for _, c := range r.Clusters {
		names = append(names, c.Name)
	}
	return names, memory.Save(r)
}
