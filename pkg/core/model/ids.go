package model

import (
	"fmt"
	"strconv"
	"strings"
)

// Ids are opaque strings made by the level that owns the thing.
type (
	// ApplicationID is 24 lower-case hex digits, made by the root.
	ApplicationID string
	// ServiceID is 24 lower-case hex digits, made by the root.
	ServiceID string
	// ClusterID is 24 lower-case hex digits, made by the root, sticky per cluster identity.
	ClusterID string
	// NodeID names a worker inside its cluster, made by the cluster (the host name, suffixed on a clash).
	NodeID string
	// UserID is 24 lower-case hex digits, made by the root.
	UserID string
)

// InstanceID names a slot: the n-th instance of a service. Numbers grow and
// are never reused within a service.
type InstanceID struct {
	Service ServiceID
	Number  int
}

// String is "<service>/<number>", the form of logs and events.
func (i InstanceID) String() string {
	return string(i.Service) + "/" + strconv.Itoa(i.Number)
}

// ParseInstanceID reads the String form.
func ParseInstanceID(s string) (InstanceID, error) {
	svc, num, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(num)
	if !ok || svc == "" || err != nil || n < 0 {
		return InstanceID{}, fmt.Errorf("instance id %q: want <service>/<number>", s)
	}
	return InstanceID{Service: ServiceID(svc), Number: n}, nil
}

// Less orders instances by service, then number.
func (i InstanceID) Less(o InstanceID) bool {
	if i.Service != o.Service {
		return i.Service < o.Service
	}
	return i.Number < o.Number
}
