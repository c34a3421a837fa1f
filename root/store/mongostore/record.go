package mongostore

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/root/store"
)

// formatVersion is the layout of collections; recordVersion the form of the
// documents below. A new field that may be absent needs no new version.
const (
	formatVersion = 1
	recordVersion = 1
)

// applicationRecord is also what its services hang on, see doc.go.
type applicationRecord struct {
	Head        `bson:",inline"`
	Name        string          `bson:"name"`
	Namespace   string          `bson:"namespace"`
	Description string          `bson:"description,omitempty"`
	Owner       string          `bson:"owner"`
	Services    []string        `bson:"services,omitempty"` // ids of those that are there
	Pending     []pendingFields `bson:"pending,omitempty"`  // those of commits of several applications
	Batch       string          `bson:"batch,omitempty"`    // there once this commit is
	Leaving     bool            `bson:"leaving,omitempty"`  // takes no more services
	By          string          `bson:"by,omitempty"`       // the call of Commit that made it
}

type pendingFields struct {
	Batch    string   `bson:"batch"`
	Services []string `bson:"services"`
}

func fromApplication(a model.Application) *applicationRecord {
	r := &applicationRecord{Head: Head{ID: string(a.ID)}, Owner: a.Owner}
	r.set(a)
	return r
}

func (r *applicationRecord) set(a model.Application) {
	r.Name, r.Namespace, r.Description = a.Name, a.Namespace, a.Description
}

func (r *applicationRecord) model() model.Application {
	return model.Application{ID: model.ApplicationID(r.ID), Name: r.Name, Namespace: r.Namespace, Description: r.Description, Owner: r.Owner}
}

type serviceRecord struct {
	Head          `bson:",inline"`
	ServiceFields `bson:",inline"`
	History       []revisionFields `bson:"history,omitempty"`
	Rollout       rolloutFields    `bson:"rollout,omitempty"`
	Leaving       bool             `bson:"leaving,omitempty"` // takes no more instances
	By            string           `bson:"by,omitempty"`      // the call of Commit that made it
}

type revisionFields struct {
	Number uint64     `bson:"number"`
	Spec   specFields `bson:"spec"`
}

type rolloutFields struct {
	State   model.RolloutState `bson:"state,omitempty"`
	From    uint64             `bson:"from,omitempty"`
	Message string             `bson:"message,omitempty"`
}

// ServiceFields (exported like Head) occur in service records and, as they were at assignment, in
// instance records.
type ServiceFields struct {
	Self        string     `bson:"id,omitempty"`
	Application string     `bson:"application,omitempty"`
	Owner       string     `bson:"owner,omitempty"`
	Name        string     `bson:"name,omitempty"` // job name
	Spec        specFields `bson:"spec,omitempty"`
	Address     string     `bson:"address,omitempty"`
	Chosen      bool       `bson:"chosen,omitempty"`
	NextNumber  int        `bson:"next_number,omitempty"`
	Revision    uint64     `bson:"revision,omitempty"`
}

type specFields struct {
	Image         string             `bson:"image,omitempty"`
	Runtime       string             `bson:"runtime,omitempty"`
	Command       []string           `bson:"command,omitempty"`
	Environment   []string           `bson:"environment,omitempty"`
	MilliCPU      int64              `bson:"milli_cpu,omitempty"`
	MemoryMB      int64              `bson:"memory_mb,omitempty"`
	GPUs          int64              `bson:"gpus,omitempty"`
	DiskMB        int64              `bson:"disk_mb,omitempty"`
	Ports         []portFields       `bson:"ports,omitempty"`
	PortText      string             `bson:"port_text,omitempty"`
	Constraints   []constraintFields `bson:"constraints,omitempty"`
	Arch          []string           `bson:"arch,omitempty"`
	OneShot       bool               `bson:"one_shot,omitempty"`
	OnClusterLoss string             `bson:"on_cluster_loss,omitempty"`

	MaxUnavailable int    `bson:"max_unavailable,omitempty"`
	StartSeconds   int    `bson:"start_seconds,omitempty"`
	Kept           string `bson:"kept,omitempty"`
}

type portFields struct {
	Host      uint16         `bson:"host"`
	Container uint16         `bson:"container"`
	Protocol  model.Protocol `bson:"protocol"`
}

type constraintFields struct {
	Type    string   `bson:"type"`
	Cluster string   `bson:"cluster,omitempty"`
	Nodes   []string `bson:"nodes,omitempty"`
	Allowed []string `bson:"allowed,omitempty"`
}

func fromService(s model.Service) *serviceRecord {
	r := &serviceRecord{Head: Head{ID: string(s.ID)}}
	r.set(s)
	return r
}

func (r *serviceRecord) set(s model.Service) {
	r.ServiceFields, r.Rollout, r.History = serviceFieldsOf(s), rolloutFields(s.Rollout), nil
	for _, v := range s.History {
		r.History = append(r.History, revisionFields{v.Number, specFieldsOf(v.Spec)})
	}
}

// model is the whole service; that of the fields alone is what an instance
// keeps.
func (r *serviceRecord) model() model.Service {
	s := r.ServiceFields.model()
	s.Rollout = model.Rollout(r.Rollout)
	for _, v := range r.History {
		s.History = append(s.History, model.Revision{Number: v.Number, Spec: v.Spec.model()})
	}
	return s
}

func serviceFieldsOf(s model.Service) ServiceFields {
	f := ServiceFields{
		Self: string(s.ID), Application: string(s.Application), Owner: s.Owner, Spec: specFieldsOf(s.Spec), Address: text(s.Address),
		Chosen: s.Chosen, NextNumber: s.NextNumber, Revision: s.Revision,
	}
	if s.Name != (model.ServiceName{}) {
		f.Name = s.Name.String()
	}
	return f
}

func (f ServiceFields) model() model.Service {
	name, _ := model.ParseServiceName(f.Name) // checked when stored; empty in a slot that was never assigned
	return model.Service{
		ID: model.ServiceID(f.Self), Application: model.ApplicationID(f.Application), Owner: f.Owner, Name: name, Spec: f.Spec.model(),
		Address: addr(f.Address), Chosen: f.Chosen, NextNumber: f.NextNumber, Revision: f.Revision,
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
		Image: f.Image, Runtime: f.Runtime, Command: f.Command, Environment: f.Environment,
		Demand:   model.Resources{MilliCPU: f.MilliCPU, MemoryMB: f.MemoryMB, GPUs: f.GPUs, DiskMB: f.DiskMB},
		PortText: f.PortText, Arch: f.Arch, OneShot: f.OneShot, OnClusterLoss: f.OnClusterLoss,
		MaxUnavailable: f.MaxUnavailable, StartSeconds: f.StartSeconds, Kept: f.Kept,
	}
	for _, p := range f.Ports {
		s.Ports = append(s.Ports, model.Port(p))
	}
	for _, c := range f.Constraints {
		s.Constraints = append(s.Constraints, model.Constraint(c))
	}
	return s
}

type instanceRecord struct {
	Head      `bson:",inline"`
	Service   string         `bson:"service"`
	Number    int            `bson:"number"`
	Address   string         `bson:"address,omitempty"`
	Cluster   string         `bson:"cluster,omitempty"`
	Grant     int64          `bson:"grant,omitempty"` // the bits of a Grant, which is unsigned
	Former    []formerFields `bson:"former,omitempty"`
	Revision  uint64         `bson:"revision"`
	Tombstone bool           `bson:"tombstone,omitempty"`
	Assigned  ServiceFields  `bson:"assigned,omitempty"` // the service as it was assigned
	CreatedAt string         `bson:"created_at,omitempty"`
}

// formerFields is a cluster that had the slot before.
type formerFields struct {
	Cluster string `bson:"cluster"`
	Grant   int64  `bson:"grant"`
}

func fromInstance(in store.Instance) *instanceRecord {
	r := &instanceRecord{Head: Head{ID: slotKey(in.ID)}}
	r.set(in)
	return r
}

func (r *instanceRecord) set(in store.Instance) {
	r.Service, r.Number, r.Address, r.Cluster = string(in.ID.Service), in.ID.Number, text(in.Address), string(in.Cluster)
	r.Grant, r.Revision, r.Tombstone = int64(in.Grant), in.Revision, in.Tombstone
	r.Assigned, r.CreatedAt = serviceFieldsOf(in.Service), stamp(in.CreatedAt)
	r.Former = nil
	for _, id := range slices.Sorted(maps.Keys(in.Former)) {
		r.Former = append(r.Former, formerFields{string(id), int64(in.Former[id])})
	}
}

func (r *instanceRecord) model() store.Instance {
	in := store.Instance{
		ID: model.InstanceID{Service: model.ServiceID(r.Service), Number: r.Number}, Address: addr(r.Address), Cluster: model.ClusterID(r.Cluster),
		Grant: instance.Grant(r.Grant), Revision: r.Revision, Tombstone: r.Tombstone,
		Service: r.Assigned.model(), CreatedAt: moment(r.CreatedAt),
	}
	for _, x := range r.Former {
		if in.Former == nil {
			in.Former = map[model.ClusterID]instance.Grant{}
		}
		in.Former[model.ClusterID(x.Cluster)] = instance.Grant(x.Grant)
	}
	return in
}

// claimRecord has the address as its id.
type claimRecord struct {
	Head    `bson:",inline"`
	Holder  string `bson:"holder"`
	Until   string `bson:"until,omitempty"`
	Service string `bson:"service,omitempty"` // whose address it is, or whose slot's; "" for a bare claim
	Slot    string `bson:"slot,omitempty"`    // key of the slot whose address it is
	By      string `bson:"by,omitempty"`      // the call that made it
}

func (r *claimRecord) model() store.Claim {
	return store.Claim{Address: addr(r.ID), Holder: r.Holder, Until: moment(r.Until)}
}

// blocksRecord is all leases, one document: they must not overlap.
type blocksRecord struct {
	Head   `bson:",inline"`
	Leases []leaseFields `bson:"leases"`
}

type leaseFields struct {
	Prefix  string `bson:"prefix"`
	Cluster string `bson:"cluster"`
}

type clusterRecord struct {
	Head      `bson:",inline"`
	Name      string `bson:"name"`
	Location  string `bson:"location,omitempty"`
	Address   string `bson:"address,omitempty"`
	KeyHash   string `bson:"key_hash,omitempty"`
	CreatedAt string `bson:"created_at,omitempty"`
}

func fromCluster(c store.Cluster) *clusterRecord {
	return &clusterRecord{Head{ID: string(c.ID)}, c.Name, c.Location, text(c.Address), c.KeyHash, stamp(c.CreatedAt)}
}

func (r *clusterRecord) model() store.Cluster {
	return store.Cluster{
		Cluster: model.Cluster{ID: model.ClusterID(r.ID), Name: r.Name, Location: r.Location, Address: addr(r.Address)},
		KeyHash: r.KeyHash, CreatedAt: moment(r.CreatedAt),
	}
}

// userRecord has the name as its id.
type userRecord struct {
	Head               `bson:",inline"`
	User               string   `bson:"id"`
	Email              string   `bson:"email,omitempty"`
	PasswordHash       string   `bson:"password_hash"`
	Roles              []string `bson:"roles,omitempty"`
	Organization       string   `bson:"organization,omitempty"`
	CreatedAt          string   `bson:"created_at,omitempty"`
	MustChangePassword bool     `bson:"must_change_password,omitempty"`
}

func fromUser(u store.User) *userRecord {
	return &userRecord{Head{ID: u.Name}, string(u.ID), u.Email, u.PasswordHash, u.Roles, u.Organization, stamp(u.CreatedAt), u.MustChangePassword}
}

func (r *userRecord) model() store.User {
	return store.User{
		ID: model.UserID(r.User), Name: r.ID, Email: r.Email, PasswordHash: r.PasswordHash, Roles: r.Roles,
		Organization: r.Organization, CreatedAt: moment(r.CreatedAt), MustChangePassword: r.MustChangePassword,
	}
}

type organizationRecord struct {
	Head      `bson:",inline"`
	Name      string         `bson:"name"`
	Members   []memberFields `bson:"members,omitempty"`
	CreatedAt string         `bson:"created_at,omitempty"`
}

type memberFields struct {
	User  model.UserID `bson:"user"`
	Roles []string     `bson:"roles,omitempty"`
}

func fromOrganization(o store.Organization) *organizationRecord {
	r := &organizationRecord{Head: Head{ID: o.ID}, Name: o.Name, CreatedAt: stamp(o.CreatedAt)}
	for _, m := range o.Members {
		r.Members = append(r.Members, memberFields(m))
	}
	return r
}

func (r *organizationRecord) model() store.Organization {
	o := store.Organization{ID: r.ID, Name: r.Name, CreatedAt: moment(r.CreatedAt)}
	for _, m := range r.Members {
		o.Members = append(o.Members, store.Member(m))
	}
	return o
}

type tokenRecord struct {
	Head         `bson:",inline"`
	Kind         store.TokenKind `bson:"kind"`
	User         string          `bson:"user"`
	UserID       model.UserID    `bson:"user_id,omitempty"`
	Name         string          `bson:"name,omitempty"`
	Hash         string          `bson:"hash,omitempty"`
	Scopes       []string        `bson:"scopes,omitempty"`
	Organization string          `bson:"organization,omitempty"`
	Generation   uint64          `bson:"generation,omitempty"`
	AdvancedAt   string          `bson:"advanced_at,omitempty"`
	Revoked      bool            `bson:"revoked,omitempty"`
	CreatedAt    string          `bson:"created_at,omitempty"`
	ExpiresAt    string          `bson:"expires_at,omitempty"`
	LastUsed     string          `bson:"last_used,omitempty"`
}

func fromToken(t store.Token) *tokenRecord {
	return &tokenRecord{
		Head{ID: t.ID}, t.Kind, t.User, t.UserID, t.Name, t.Hash, t.Scopes, t.Organization,
		t.Generation, stamp(t.AdvancedAt), t.Revoked, stamp(t.CreatedAt), stamp(t.ExpiresAt), stamp(t.LastUsed),
	}
}

func (r *tokenRecord) model() store.Token {
	return store.Token{
		ID: r.ID, Kind: r.Kind, User: r.User, UserID: r.UserID, Name: r.Name, Hash: r.Hash, Scopes: r.Scopes, Organization: r.Organization,
		Generation: r.Generation, AdvancedAt: moment(r.AdvancedAt), Revoked: r.Revoked,
		CreatedAt: moment(r.CreatedAt), ExpiresAt: moment(r.ExpiresAt), LastUsed: moment(r.LastUsed),
	}
}

const metaID = "root"

// metaRecord is one document, so that grants and incarnation change together.
type metaRecord struct {
	Head        `bson:",inline"`
	Format      int   `bson:"format"`
	Incarnation int64 `bson:"incarnation"`
	Grants      int64 `bson:"grants"` // given out within the incarnation
	Recovery    bool  `bson:"recovery"`
}

// commitRecord being there means that a descriptor of several applications is.
type commitRecord struct {
	Head         `bson:",inline"`
	Applications []string `bson:"applications"`
}

// removalRecord is what Remove has promised and may still have to do.
type removalRecord struct {
	Head         `bson:",inline"`
	Applications []string `bson:"applications,omitempty"`
	Services     []string `bson:"services,omitempty"`
	Until        string   `bson:"until"`
}

// leaseRecord has the name as its id. Its Head.Term is not that of the lease.
type leaseRecord struct {
	Head    `bson:",inline"`
	Holder  string `bson:"holder"`
	Address string `bson:"address"`
	Number  uint64 `bson:"number"` // the term
	Beat    uint64 `bson:"beat"`
}

func (r *leaseRecord) model() store.Lease {
	return store.Lease{Holder: r.Holder, Address: r.Address, Term: r.Number, Beat: r.Beat}
}

// keyRecord is a secret that all system managers share.
type keyRecord struct {
	Head `bson:",inline"`
	Key  []byte `bson:"key"`
}

// text is "" for no address.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// addr is invalid for "".
func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s) // written by text
	return a
}

// stamp keeps the nanoseconds that a BSON date would lose; "" for no time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func moment(s string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s) // written by stamp
	return t
}
