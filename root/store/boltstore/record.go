package boltstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// formatVersion is the layout of buckets and keys; recordVersion the form of
// the JSON below. A new field that may be absent needs no new version.
const (
	formatVersion = 1
	recordVersion = 1
)

// versioned is what every record carries.
type versioned interface{ version() int }

// header is embedded in every record.
type header struct {
	V int `json:"v"`
}

func (h header) version() int { return h.V }

func current() header { return header{V: recordVersion} }

func decode[R versioned](raw []byte) (r R, err error) {
	err = decodeInto(raw, &r)
	return r, err
}

// decodeInto leaves nothing of what was there.
func decodeInto[R versioned](raw []byte, into *R) error {
	*into = *new(R)
	if q, ok := any(into).(quick); !ok || !q.quick(raw) {
		*into = *new(R)
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("stored record: %w", errors.Join(errs.Internal, err))
		}
	}
	if v := (*into).version(); v != recordVersion {
		return fmt.Errorf("stored record has version %d, this program reads %d: %w", v, recordVersion, errs.Internal)
	}
	return nil
}

type applicationRecord struct {
	header
	ID          model.ApplicationID `json:"id"`
	Name        string              `json:"name"`
	Namespace   string              `json:"namespace"`
	Description string              `json:"description,omitempty"`
	Owner       string              `json:"owner"`
}

func fromApplication(a model.Application) applicationRecord {
	return applicationRecord{current(), a.ID, a.Name, a.Namespace, a.Description, a.Owner}
}

func (r applicationRecord) model() model.Application {
	return model.Application{ID: r.ID, Name: r.Name, Namespace: r.Namespace, Description: r.Description, Owner: r.Owner}
}

type serviceRecord struct {
	header
	serviceFields
	History []revisionFields `json:"history,omitempty"`
	Rollout rolloutFields    `json:"rollout,omitzero"`
}

type revisionFields struct {
	Number uint64     `json:"number"`
	Spec   specFields `json:"spec"`
}

type rolloutFields struct {
	State   model.RolloutState `json:"state,omitempty"`
	From    uint64             `json:"from,omitempty"`
	Message string             `json:"message,omitempty"`
}

// serviceFields occur in service records and, as they were at assignment, in
// instance records.
type serviceFields struct {
	ID          model.ServiceID     `json:"id,omitempty"`
	Application model.ApplicationID `json:"application,omitempty"`
	Owner       string              `json:"owner,omitempty"`
	Name        string              `json:"name,omitempty"` // job name
	Spec        specFields          `json:"spec,omitzero"`
	Address     netip.Addr          `json:"address,omitzero"`
	Chosen      bool                `json:"chosen,omitempty"`
	NextNumber  int                 `json:"next_number,omitempty"`
	Revision    uint64              `json:"revision,omitempty"`
}

type specFields struct {
	Image         string             `json:"image,omitempty"`
	Runtime       string             `json:"runtime,omitempty"`
	Command       []string           `json:"command,omitempty"`
	Environment   []string           `json:"environment,omitempty"`
	MilliCPU      int64              `json:"milli_cpu,omitempty"`
	MemoryMB      int64              `json:"memory_mb,omitempty"`
	GPUs          int64              `json:"gpus,omitempty"`
	DiskMB        int64              `json:"disk_mb,omitempty"`
	Ports         []portFields       `json:"ports,omitempty"`
	PortText      string             `json:"port_text,omitempty"`
	Constraints   []constraintFields `json:"constraints,omitempty"`
	Arch          []string           `json:"arch,omitempty"`
	OneShot       bool               `json:"one_shot,omitempty"`
	OnClusterLoss string             `json:"on_cluster_loss,omitempty"`

	MaxUnavailable int    `json:"max_unavailable,omitempty"`
	StartSeconds   int    `json:"start_seconds,omitempty"`
	Kept           string `json:"kept,omitempty"`
}

type portFields struct {
	Host      uint16         `json:"host"`
	Container uint16         `json:"container"`
	Protocol  model.Protocol `json:"protocol"`
}

type constraintFields struct {
	Type    string   `json:"type"`
	Cluster string   `json:"cluster,omitempty"`
	Nodes   []string `json:"nodes,omitempty"`
	Allowed []string `json:"allowed,omitempty"`
}

func fromService(s model.Service) serviceRecord {
	r := serviceRecord{header: current(), serviceFields: serviceFieldsOf(s), Rollout: rolloutFields(s.Rollout)}
	for _, v := range s.History {
		r.History = append(r.History, revisionFields{v.Number, specFieldsOf(v.Spec)})
	}
	return r
}

// service is the whole record; the fields' model is what an instance keeps.
func (r serviceRecord) service() model.Service {
	s := r.serviceFields.model()
	s.Rollout = model.Rollout(r.Rollout)
	for _, v := range r.History {
		s.History = append(s.History, model.Revision{Number: v.Number, Spec: v.Spec.model()})
	}
	return s
}

func serviceFieldsOf(s model.Service) serviceFields {
	f := serviceFields{
		ID: s.ID, Application: s.Application, Owner: s.Owner, Spec: specFieldsOf(s.Spec), Address: s.Address,
		Chosen: s.Chosen, NextNumber: s.NextNumber, Revision: s.Revision,
	}
	if s.Name != (model.ServiceName{}) {
		f.Name = s.Name.String()
	}
	return f
}

func (f serviceFields) model() model.Service {
	name, _ := model.ParseServiceName(f.Name) // checked when stored; empty in a slot that was never assigned
	return model.Service{
		ID: f.ID, Application: f.Application, Owner: f.Owner, Name: name, Spec: f.Spec.model(), Address: f.Address,
		Chosen: f.Chosen, NextNumber: f.NextNumber, Revision: f.Revision,
	}
}

func specFieldsOf(s model.ServiceSpec) specFields {
	f := specFields{
		Image: s.Image, Runtime: s.Runtime, Command: s.Command, Environment: s.Environment,
		MilliCPU: s.Demand.MilliCPU, MemoryMB: s.Demand.MemoryMB, GPUs: s.Demand.GPUs, DiskMB: s.Demand.DiskMB,
		PortText: s.PortText, Arch: s.Arch, OneShot: s.OneShot, OnClusterLoss: s.OnClusterLoss,
		MaxUnavailable: s.MaxUnavailable, StartSeconds: s.StartSeconds, Kept: s.Kept,
	}
	for _, p := range s.Ports {
		f.Ports = append(f.Ports, portFields(p))
	}
	for _, c := range s.Constraints {
		f.Constraints = append(f.Constraints, constraintFields(c))
	}
	return f
}

func (f specFields) model() model.ServiceSpec {
	s := model.ServiceSpec{
		Image: f.Image, Runtime: f.Runtime, Command: slices.Clone(f.Command), Environment: slices.Clone(f.Environment),
		Demand:   model.Resources{MilliCPU: f.MilliCPU, MemoryMB: f.MemoryMB, GPUs: f.GPUs, DiskMB: f.DiskMB},
		PortText: f.PortText, Arch: slices.Clone(f.Arch), OneShot: f.OneShot, OnClusterLoss: f.OnClusterLoss,
		MaxUnavailable: f.MaxUnavailable, StartSeconds: f.StartSeconds, Kept: f.Kept,
	}
	for _, p := range f.Ports {
		s.Ports = append(s.Ports, model.Port(p))
	}
	for _, c := range f.Constraints {
		c.Nodes, c.Allowed = slices.Clone(c.Nodes), slices.Clone(c.Allowed)
		s.Constraints = append(s.Constraints, model.Constraint(c))
	}
	return s
}

type instanceRecord struct {
	header
	Service   model.ServiceID `json:"service"`
	Number    int             `json:"number"`
	Address   netip.Addr      `json:"address,omitzero"`
	Cluster   model.ClusterID `json:"cluster,omitempty"`
	Grant     instance.Grant  `json:"grant,omitempty"`
	Former    grants          `json:"former,omitempty"`
	Revision  uint64          `json:"revision"`
	Tombstone bool            `json:"tombstone,omitempty"`
	Assigned  serviceFields   `json:"assigned,omitzero"` // the service as it was assigned
	CreatedAt time.Time       `json:"created_at,omitzero"`
}

type grants = map[model.ClusterID]instance.Grant

func fromInstance(in store.Instance) instanceRecord {
	return instanceRecord{
		header: current(), Service: in.ID.Service, Number: in.ID.Number, Address: in.Address, Cluster: in.Cluster,
		Grant: in.Grant, Former: in.Former, Revision: in.Revision, Tombstone: in.Tombstone,
		Assigned: serviceFieldsOf(in.Service), CreatedAt: in.CreatedAt,
	}
}

func (r instanceRecord) model() store.Instance {
	return store.Instance{
		ID: model.InstanceID{Service: r.Service, Number: r.Number}, Address: r.Address, Cluster: r.Cluster,
		Grant: r.Grant, Former: r.Former, Revision: r.Revision, Tombstone: r.Tombstone,
		Service: r.Assigned.model(), CreatedAt: r.CreatedAt,
	}
}

type claimRecord struct {
	header
	Holder string    `json:"holder"`
	Until  time.Time `json:"until,omitzero"`
}

type blockRecord struct {
	header
	Cluster model.ClusterID `json:"cluster"`
}

type clusterRecord struct {
	header
	ID        model.ClusterID `json:"id"`
	Name      string          `json:"name"`
	Location  string          `json:"location,omitempty"`
	Address   netip.Addr      `json:"address,omitzero"`
	KeyHash   string          `json:"key_hash,omitempty"`
	CreatedAt time.Time       `json:"created_at,omitzero"`
}

func fromCluster(c store.Cluster) clusterRecord {
	return clusterRecord{current(), c.ID, c.Name, c.Location, c.Address, c.KeyHash, c.CreatedAt}
}

func (r clusterRecord) model() store.Cluster {
	return store.Cluster{
		Cluster: model.Cluster{ID: r.ID, Name: r.Name, Location: r.Location, Address: r.Address},
		KeyHash: r.KeyHash, CreatedAt: r.CreatedAt,
	}
}

type userRecord struct {
	header
	ID                 model.UserID `json:"id"`
	Name               string       `json:"name"`
	Email              string       `json:"email,omitempty"`
	PasswordHash       string       `json:"password_hash"`
	Roles              []string     `json:"roles,omitempty"`
	Organization       string       `json:"organization,omitempty"`
	CreatedAt          time.Time    `json:"created_at,omitzero"`
	MustChangePassword bool         `json:"must_change_password,omitempty"`
}

func fromUser(u store.User) userRecord {
	return userRecord{current(), u.ID, u.Name, u.Email, u.PasswordHash, u.Roles, u.Organization, u.CreatedAt, u.MustChangePassword}
}

func (r userRecord) model() store.User {
	return store.User{
		ID: r.ID, Name: r.Name, Email: r.Email, PasswordHash: r.PasswordHash, Roles: slices.Clone(r.Roles),
		Organization: r.Organization, CreatedAt: r.CreatedAt, MustChangePassword: r.MustChangePassword,
	}
}

type leaseRecord struct {
	header
	Holder  string `json:"holder,omitempty"`
	Address string `json:"address,omitempty"`
	Term    uint64 `json:"term"`
	Beat    uint64 `json:"beat"`
}
