package sla

import (
	"net/netip"

	"oakestra/pkg/core/model"
)

// Descriptor is a valid descriptor.
type Descriptor struct {
	Customer     string
	Applications []Application
}

// Application of a descriptor. Path is where it stands, such as
// "applications[0]", for errors that are found later.
type Application struct {
	Path        string
	ID          model.ApplicationID // "" for a new one
	Name        string
	Namespace   string
	Description string
	Services    []Service
}

// Service of an application; in descriptors it is called microservice.
type Service struct {
	Path      string // such as "applications[0].microservices[1]"
	ID        model.ServiceID
	Name      string
	Namespace string
	Spec      model.ServiceSpec
	// Address is the service address the user chose (addresses.rr_ip); invalid
	// when none was chosen.
	Address netip.Addr
	// Replicas is how many instances Apply brings it to; nil: as many as there
	// are.
	Replicas *int
}

// Warning is something odd that is accepted.
type Warning struct {
	Path, Value, Message string
}

// String is one line.
func (w Warning) String() string { return w.Path + ": " + w.Message }
