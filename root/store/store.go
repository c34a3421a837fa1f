package store

import (
	"context"
	"net/netip"
	"time"

	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// Store is all aggregates of one backend.
type Store interface {
	Applications() Applications
	Services() Services
	Instances() Instances
	Claims() Claims
	Blocks() Blocks
	Clusters() Clusters
	Users() Users
	Organizations() Organizations
	Tokens() Tokens
	Meta() Meta
	// Descriptors commits whole descriptors: all or nothing.
	Descriptors() Descriptors
	// Leases say which of several system managers on one store serves.
	Leases() Leases
	Close() error
}

// Applications of all users. Name + namespace are unique per owner.
type Applications interface {
	Get(ctx context.Context, id model.ApplicationID) (model.Application, error)
	// List returns the applications of owner, or all for "", by id.
	List(ctx context.Context, owner string) ([]model.Application, error)
	// Parts lists the ids of their services, ascending; none for one without.
	Parts(ctx context.Context, owner string) (map[model.ApplicationID][]model.ServiceID, error)
	Update(ctx context.Context, id model.ApplicationID, f func(model.Application) (model.Application, error)) (model.Application, error)
	Delete(ctx context.Context, id model.ApplicationID) error
}

// Services of all applications. The job name is unique per owner.
type Services interface {
	Get(ctx context.Context, id model.ServiceID) (model.Service, error)
	// List returns the services of one application, or all for "", by id.
	List(ctx context.Context, app model.ApplicationID) ([]model.Service, error)
	Update(ctx context.Context, id model.ServiceID, f func(model.Service) (model.Service, error)) (model.Service, error)
	Delete(ctx context.Context, id model.ServiceID) error
}

// Instance is a slot as the root stores it: what was decided, not what was seen.
// Why none of the clusters can take it is seen.
type Instance struct {
	ID      model.InstanceID
	Address netip.Addr      // 10.30.x.y of the slot
	Cluster model.ClusterID // "" until assigned
	Grant   instance.Grant  // 0 until assigned
	// Former clusters had it before, under these grants, and may still hold it.
	// One that has let go since stays here until the record is written again;
	// it says so anew when it connects.
	Former   map[model.ClusterID]instance.Grant
	Revision uint64 // grows with every change of this record
	// Tombstone: the user deleted it. The record and its addresses stay until
	// the cluster has said that nothing is left.
	Tombstone bool
	// Spec is the service at the time of assignment, so that a tombstone can
	// be carried out after the service is gone.
	Service   model.Service
	CreatedAt time.Time
}

// Instances of all services, tombstones included.
type Instances interface {
	Get(ctx context.Context, id model.InstanceID) (Instance, error)
	// List returns the instances of one service, or all for "", by id.
	List(ctx context.Context, svc model.ServiceID) ([]Instance, error)
	// Add takes the next number of the service and stores a new slot in one
	// write. address is claimed in the same write; Conflict when taken.
	Add(ctx context.Context, svc model.ServiceID, address netip.Addr, at time.Time) (Instance, error)
	// Put stores a slot that a cluster reported to a root in recovery.
	Put(ctx context.Context, in Instance) error
	Update(ctx context.Context, id model.InstanceID, f func(Instance) (Instance, error)) (Instance, error)
	// Delete removes the record and quarantines its address until the given time.
	Delete(ctx context.Context, id model.InstanceID, quarantine time.Time) error
}

// Claim is one address of 10.30.0.0/16 in use or in quarantine.
type Claim struct {
	Address netip.Addr
	Holder  string    // job name for a service address, instance id for an instance address
	Until   time.Time // zero: in use; else quarantined until then
}

// Claims: one stored document per address, the insert is the claim.
type Claims interface {
	List(ctx context.Context) ([]Claim, error)
	// Claim inserts; Conflict when another holder has it or it is in
	// quarantine of another holder.
	Claim(ctx context.Context, c Claim) error
	Quarantine(ctx context.Context, a netip.Addr, until time.Time) error
	Release(ctx context.Context, a netip.Addr) error
}

// Block is a /22 of node subnets leased to a cluster.
type Block struct {
	Prefix  netip.Prefix
	Cluster model.ClusterID
}

// Blocks leased to clusters.
type Blocks interface {
	List(ctx context.Context) ([]Block, error)
	Lease(ctx context.Context, b Block) error
	Return(ctx context.Context, p netip.Prefix) error
}

// Cluster is a registered cluster and the key that proves its identity.
type Cluster struct {
	model.Cluster
	KeyHash   string // of Hello.cluster_key
	CreatedAt time.Time
}

// Clusters that ever registered. The name is unique.
type Clusters interface {
	Get(ctx context.Context, id model.ClusterID) (Cluster, error)
	List(ctx context.Context) ([]Cluster, error)
	Put(ctx context.Context, c Cluster) error
	Delete(ctx context.Context, id model.ClusterID) error
}

// User can log in.
type User struct {
	ID                 model.UserID
	Name               string
	Email              string
	PasswordHash       string // argon2id, encoded
	Roles              []string
	Organization       string
	CreatedAt          time.Time
	MustChangePassword bool
}

// Users by name.
type Users interface {
	Get(ctx context.Context, name string) (User, error)
	List(ctx context.Context) ([]User, error)
	Put(ctx context.Context, u User) error
	Update(ctx context.Context, name string, f func(User) (User, error)) (User, error)
	Delete(ctx context.Context, name string) error
}

// Organization is a group of users. The roles of the organization called
// root are those of its users' own records; it has no members here.
type Organization struct {
	ID        string
	Name      string
	Members   []Member
	CreatedAt time.Time
}

// Member is what a user may do in one organization.
type Member struct {
	User  model.UserID
	Roles []string
}

// Organizations by id. The name is unique.
type Organizations interface {
	Get(ctx context.Context, id string) (Organization, error)
	List(ctx context.Context) ([]Organization, error)
	// Put stores; Conflict when another one has the name.
	Put(ctx context.Context, o Organization) error
	Update(ctx context.Context, id string, f func(Organization) (Organization, error)) (Organization, error)
	Delete(ctx context.Context, id string) error
}

// TokenKind says what a token is for.
type TokenKind string

// The kinds.
const (
	TokenAPI     TokenKind = "api"     // lets a program act for a user
	TokenReset   TokenKind = "reset"   // sets one new password
	TokenSession TokenKind = "session" // a login whose refresh tokens were exchanged, or that was ended
)

// Token is what the store keeps of a secret, never the secret itself.
type Token struct {
	ID           string
	Kind         TokenKind
	User         string       // name
	UserID       model.UserID // a later user of the same name is another one
	Name         string
	Hash         string   // SHA-256 of the secret, hex; none for a session
	Scopes       []string // of an API token
	Organization string   // whose roles count
	Generation   uint64   // the newest refresh token of a session that was used
	AdvancedAt   time.Time
	Revoked      bool // a session that was ended
	CreatedAt    time.Time
	ExpiresAt    time.Time // zero for never
	LastUsed     time.Time // coarse
}

// Tokens of all users, by id.
type Tokens interface {
	Get(ctx context.Context, id string) (Token, error)
	// List returns the tokens of one user, or all for "".
	List(ctx context.Context, user string) ([]Token, error)
	Put(ctx context.Context, t Token) error
	Update(ctx context.Context, id string, f func(Token) (Token, error)) (Token, error)
	Delete(ctx context.Context, id string) error
}

// Meta is what the store knows of itself.
type Meta interface {
	// Incarnation of this store; 0 in a store that was just made.
	Incarnation(ctx context.Context) (uint32, error)
	SetIncarnation(ctx context.Context, n uint32) error
	// NextGrant counts up within the incarnation.
	NextGrant(ctx context.Context) (instance.Grant, error)
	// NextGrants counts up by n at once and returns the first of them.
	NextGrants(ctx context.Context, n int) (instance.Grant, error)
	// Recovery says that clusters must be heard before anything is allocated.
	Recovery(ctx context.Context) (bool, error)
	SetRecovery(ctx context.Context, on bool) error
}

// Descriptor is one validated SLA with addresses chosen, ready to store.
type Descriptor struct {
	Applications []model.Application // new ones
	Services     []model.Service     // new ones; Address claimed by their job name in the same write
}

// Descriptors commits descriptors.
type Descriptors interface {
	// Commit stores everything or nothing. Conflict when a name or an address
	// is taken; the error names which.
	Commit(ctx context.Context, d Descriptor) error
	// Remove deletes an application or service records at once, turns every
	// instance into a tombstone and quarantines the service addresses.
	Remove(ctx context.Context, apps []model.ApplicationID, services []model.ServiceID, quarantine time.Time) error
}

// Lease is who may do something alone. What a term, a beat and the passing of
// time mean is up to root/lease; the store compares and swaps.
type Lease struct {
	Holder  string // a process; "" when it was given back
	Address string // where the holder answers
	Term    uint64 // grows with every holder
	Beat    uint64 // grows with every renewal
}

// Leases by name.
type Leases interface {
	// Get returns the zero Lease when nobody ever had it.
	Get(ctx context.Context, name string) (Lease, error)
	// Swap replaces was by next; Conflict when the lease is another one by now.
	Swap(ctx context.Context, name string, was, next Lease) error
	// Fence makes this store write under a term from now on: what was written
	// under a later one it overwrites no more, and grants it counts no more
	// once a later term has begun (Unavailable). A store that only one process
	// can open need not do anything.
	Fence(ctx context.Context, term uint64) error
}
