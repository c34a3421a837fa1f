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
	OneShot        bool         `json:"one_shot,omitempty"`
} // @name DescriptorService

// Addresses a user chose.
type Addresses struct {
	RoundRobin string `json:"rr_ip,omitempty" example:"10.30.30.30"`
} // @name Addresses

// Constraint restricts where a service may run.
type Constraint struct {
	Type    string   `json:"type" example:"direct"`
	Cluster string   `json:"cluster,omitempty"` // name, for "direct"
	Node    string   `json:"node,omitempty"`    // host names joined by ";", for "direct"
	Allowed []string `json:"allowed,omitempty"` // cluster names, for "clusters"
} // @name Constraint
