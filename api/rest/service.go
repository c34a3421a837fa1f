package rest

// Service is a service with its instances. Old and new names of a value stand
// side by side, since clients of different ages read different ones.
type Service struct {
	ID                    OID          `json:"_id"`
	MicroserviceID        string       `json:"microserviceID"`
	MicroserviceName      string       `json:"microservice_name" example:"nginx"`
	MicroserviceNamespace string       `json:"microservice_namespace" example:"test"`
	ApplicationID         string       `json:"applicationID"`
	AppName               string       `json:"app_name" example:"clientsrvr"`
	AppNamespace          string       `json:"app_ns" example:"test"`
	ServiceName           string       `json:"service_name" example:"nginx"`
	ServiceNamespace      string       `json:"service_ns" example:"test"`
	JobName               string       `json:"job_name" example:"clientsrvr.test.nginx.test"`
	Virtualization        string       `json:"virtualization" example:"docker"`
	Image                 string       `json:"image"`
	Code                  string       `json:"code"`
	Status                string       `json:"status" example:"RUNNING"`
	StatusDetail          string       `json:"status_detail"`
	State                 string       `json:"state"`
	Port                  string       `json:"port" example:"6080:60/tcp"`
	RoundRobinIP          string       `json:"RR_ip" example:"10.30.30.30"`
	Addresses             Addresses    `json:"addresses"`
	Memory                int64        `json:"memory"` // MiB
	VCPUs                 int64        `json:"vcpus"`
	VGPUs                 int64        `json:"vgpus"`
	VTPUs                 int64        `json:"vtpus"`
	Storage               int64        `json:"storage"` // MiB
	BandwidthIn           int64        `json:"bandwidth_in"`
	BandwidthOut          int64        `json:"bandwidth_out"`
	Command               []string     `json:"cmd"`
	Environment           []string     `json:"environment"`
	Arch                  []string     `json:"arch"`
	OneShot               bool         `json:"one_shot"`
	Constraints           []Constraint `json:"constraints"`
	Connectivity          []Connection `json:"connectivity"` // kept, not honoured
	AddedFiles            []string     `json:"added_files"`  // kept, not honoured
	Args                  []string     `json:"args"`         // kept, not honoured
	VMImages              []string     `json:"vm_images"`    // kept, not honoured
	Privileged            bool         `json:"privileged"`   // kept, not honoured
	Platform              string       `json:"platform"`     // kept, not honoured
	Volumes               []Volume     `json:"volumes"`      // kept, not honoured
	ViolationStrategy     string       `json:"sla_violation_strategy"`
	TargetNode            string       `json:"target_node"`
	OnClusterLoss         string       `json:"on_cluster_loss" example:"keep"`
	MaxUnavailable        int          `json:"max_unavailable" example:"1"`
	StartSeconds          int          `json:"start_seconds" example:"300"`
	Rollout               Rollout      `json:"rollout"`
	NextInstance          int          `json:"next_instance_progressive_number"`
	Instances             []Instance   `json:"instance_list"`
	Warnings              []string     `json:"warnings,omitempty"` // of the change that this answers
} // @name Service

// Instance is one run slot of a service.
type Instance struct {
	Number          int      `json:"instance_number"`
	Status          string   `json:"status" example:"RUNNING"`
	StatusDetail    string   `json:"status_detail"`
	Stale           bool     `json:"stale"` // its cluster is not connected: everything here is as last heard
	PublicIP        string   `json:"publicip"`
	HostIP          string   `json:"host_ip"`
	HostPort        int      `json:"host_port"` // first published port, else 0
	Revision        uint64   `json:"revision"`  // of the service, as this instance was given it; 0 before
	InstanceIP      string   `json:"instance_ip" example:"10.30.0.7"`
	NamespaceIP     string   `json:"namespace_ip" example:"10.18.0.2"`
	ClusterID       string   `json:"cluster_id"`
	ClusterName     string   `json:"cluster_name"`
	ClusterLocation string   `json:"cluster_location"`
	WorkerID        string   `json:"worker_id"`
	CPU             string   `json:"cpu"`
	CPUPercent      string   `json:"cpu_percent"` // of one core
	Memory          string   `json:"memory"`
	MemoryPercent   string   `json:"memory_percent"`
	Disk            string   `json:"disk"` // bytes
	Logs            string   `json:"logs"` // the last bytes of output
	CPUHistory      []Sample `json:"cpu_history"`
	MemoryHistory   []Sample `json:"memory_history"`
} // @name Instance

// Sample is one point of a history.
type Sample struct {
	Value     string `json:"value"`
	Timestamp string `json:"timestamp"`
} // @name Sample

// ServiceCreated is the answer to POST /api/service/.
type ServiceCreated struct {
	JobID    string            `json:"job_id"` // id of the last service
	Deployed []ServiceAccepted `json:"deployed_services"`
	Failed   []ServiceRejected `json:"failed_services"` // always empty: a descriptor is stored whole or not at all
	Warnings []string          `json:"warnings,omitempty"`
} // @name ServiceCreated

// ServiceAccepted is a service that was stored.
type ServiceAccepted struct {
	ServiceName string `json:"service_name"`
	Status      int    `json:"status" example:"200"`
} // @name ServiceAccepted

// ServiceRejected is a service that was not stored.
type ServiceRejected struct {
	ServiceName string `json:"service_name"`
	Message     string `json:"message"`
	Status      int    `json:"status" example:"500"`
} // @name ServiceRejected

// Deployed is the answer to POST /api/service/{id}/instance.
type Deployed struct {
	Message        string `json:"message" example:"ok"`
	InstanceNumber int    `json:"instance_number"`
} // @name Deployed
