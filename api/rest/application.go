package rest

// Application is a named group of services.
type Application struct {
	ID            OID      `json:"_id"`
	ApplicationID string   `json:"applicationID"`
	Name          string   `json:"application_name" example:"clientsrvr"`
	Namespace     string   `json:"application_namespace" example:"test"`
	Description   string   `json:"application_desc"`
	UserID        string   `json:"userId" example:"Admin"` // the owner's name
	Microservices []string `json:"microservices"`          // ids of its services
	Warnings      []string `json:"warnings,omitempty"`     // of the creation that this answers
} // @name Application

// Descriptor is the deployment descriptor (SLA v2.0) as users post it. Keys
// that are not listed here are accepted and ignored.
type Descriptor struct {
	SLAVersion   string                  `json:"sla_version" example:"v2.0"`
	CustomerID   string                  `json:"customerID" example:"Admin"`
	Applications []DescriptorApplication `json:"applications"`
} // @name Descriptor

// DescriptorApplication is one application of a descriptor.
type DescriptorApplication struct {
	ApplicationID string              `json:"applicationID" example:""`
	Name          string              `json:"application_name" example:"clientsrvr"`
	Namespace     string              `json:"application_namespace" example:"test"`
	Description   string              `json:"application_desc" example:"Simple demo"`
	Microservices []DescriptorService `json:"microservices"`
} // @name DescriptorApplication

// DescriptorService is one service of a descriptor.
type DescriptorService struct {
	MicroserviceID string       `json:"microserviceID" example:""`
	Name           string       `json:"microservice_name" example:"nginx"`
	Namespace      string       `json:"microservice_namespace" example:"test"`
	Virtualization string       `json:"virtualization" example:"container"`
	Command        []string     `json:"cmd"`
	Environment    []string     `json:"environment"`
	Memory         int64        `json:"memory" example:"100"` // MiB
	VCPUs          int64        `json:"vcpus" example:"1"`
	VGPUs          int64        `json:"vgpus" example:"0"`
	Storage        int64        `json:"storage" example:"0"` // MiB
	Code           string       `json:"code" example:"docker.io/library/nginx:latest"`
	Port           string       `json:"port" example:"6080:60/tcp"`
	Addresses      *Addresses   `json:"addresses,omitempty"`
	Constraints    []Constraint `json:"constraints"`
	Arch           []string     `json:"arch,omitempty"`
	OneShot        bool         `json:"one_shot,omitempty"`
	OnClusterLoss  string       `json:"on_cluster_loss,omitempty" example:"replace"`
	MaxUnavailable int          `json:"max_unavailable,omitempty" example:"1"` // instances replaced at a time
	StartSeconds   int          `json:"start_seconds,omitempty" example:"300"` // how long one may take to run before a rollout stops
	Replicas       *int         `json:"replicas,omitempty" example:"2"`        // for /api/apply
} // @name DescriptorService

// Addresses a user chose.
type Addresses struct {
	RoundRobin  string            `json:"rr_ip,omitempty" example:"10.30.30.30"`
	ClosestIP   string            `json:"closest_ip,omitempty"`    // kept, not served
	RoundRobin6 string            `json:"rr_ip_v6,omitempty"`      // kept, not served
	ClosestIP6  string            `json:"closest_ip_v6,omitempty"` // kept, not served
	Instances   []InstanceAddress `json:"instances,omitempty"`     // kept, not served
} // @name Addresses

// InstanceAddress is kept as it came.
type InstanceAddress struct {
	From  any `json:"from,omitempty" swaggertype:"string"`
	To    any `json:"to,omitempty" swaggertype:"string"`
	Start any `json:"start,omitempty" swaggertype:"string"`
} // @name InstanceAddress

// Constraint restricts where a service may run.
type Constraint struct {
	Type    string   `json:"type" example:"direct"`
	Cluster string   `json:"cluster,omitempty"` // name, for "direct"
	Node    string   `json:"node,omitempty"`    // host names joined by ";", for "direct"
	Allowed []string `json:"allowed,omitempty"` // cluster names, for "clusters"
	// The rest belongs to "latency", "geo" and "addons", which are kept and
	// restrict nothing.
	Area        string   `json:"area,omitempty"`
	Location    string   `json:"location,omitempty"`
	Threshold   float64  `json:"threshold,omitempty"`
	Rigidness   float64  `json:"rigidness,omitempty"`
	Convergence float64  `json:"convergence_time,omitempty"`
	Needs       []string `json:"needs,omitempty"`
} // @name Constraint
