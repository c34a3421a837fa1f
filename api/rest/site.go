package rest

// Cluster is a site. Its _id is a plain string, unlike that of services.
type Cluster struct {
	ID               string    `json:"_id"`
	Name             string    `json:"cluster_name" example:"c1"`
	CandidateName    string    `json:"candidate_name"`
	IP               string    `json:"ip"`
	Port             string    `json:"port" example:"10100"`
	Location         string    `json:"cluster_location"`
	Info             Empty     `json:"clusterinfo"`
	Active           bool      `json:"active"`
	StatusDetail     string    `json:"status_detail"`            // since when it is not connected, or why it replaces nothing; "" when all is well
	PausedUntil      string    `json:"replacement_paused_until"` // what ran on lost workers is not replaced before; "" when it is
	ActiveNodes      int       `json:"active_nodes"`
	NetworkNodes     int       `json:"network_nodes"` // with NetManager
	TotalCPUCores    int64     `json:"total_cpu_cores"`
	VCPUs            int64     `json:"vcpus"`
	TotalGPUCores    int64     `json:"total_gpu_cores"`
	VGPUs            int64     `json:"vgpus"`
	VRAM             int64     `json:"vram"`
	MemoryMB         int64     `json:"memory_in_mb"`
	Memory           int64     `json:"memory"` // MiB
	CPUPercent       float64   `json:"cpu_percent"`
	AggregatedCPU    float64   `json:"aggregated_cpu_percent"`
	MemoryPercent    float64   `json:"memory_percent"`
	AggregatedMemory float64   `json:"aggregated_memory_percent"`
	GPUPercent       float64   `json:"gpu_percent"`
	TotalGPUPercent  float64   `json:"total_gpu_percent"`
	ReservedVCPUs    float64   `json:"reserved_vcpus"`
	ReservedMemory   int64     `json:"reserved_memory_in_mb"`
	ReservedVGPUs    int64     `json:"reserved_vgpus"`
	Virtualization   []string  `json:"virtualization"`
	Architectures    []string  `json:"architectures"`
	CSIDrivers       []string  `json:"csi_drivers"`
	SupportedAddons  []string  `json:"supported_addons"`
	GPUDrivers       []string  `json:"gpu_drivers"`
	WorkerGroups     []string  `json:"worker_groups"`
	Orphans          int       `json:"orphans"` // containers there that no record explains
	LastModified     Date      `json:"last_modified"`
	LastModifiedUnix float64   `json:"last_modified_timestamp"`   // seconds
	ToRemove         []Removal `json:"to_remove,omitzero"`        // the first 100; not in lists, and only for Admin and Infrastructure_Provider
	ToRemoveTotal    int       `json:"to_remove_total,omitempty"` // all of them
} // @name Cluster

// Date is a point in time, RFC 3339 in UTC.
type Date struct {
	Date string `json:"$date" example:"2025-01-02T03:04:05Z"`
} // @name Date

// Node is a worker.
type Node struct {
	ID             string    `json:"id"`
	Host           string    `json:"host"`
	IP             string    `json:"ip"`
	ClusterID      string    `json:"cluster_id"`
	ClusterName    string    `json:"cluster_name"`
	Status         string    `json:"status" enums:"unseen,alive,suspect,lost"`
	Stale          bool      `json:"stale"` // its cluster is not connected: everything here is as last heard
	Architecture   string    `json:"architecture" example:"amd64"`
	Runtimes       []string  `json:"virtualization"`
	Network        bool      `json:"network"`   // NetManager is there
	Dataplane      string    `json:"dataplane"` // "" for an original NetManager
	Subnet         string    `json:"subnet" example:"10.18.0.0/26"`
	Cordoned       bool      `json:"cordoned"` // takes nothing new
	Draining       bool      `json:"draining"` // and its instances move elsewhere
	VCPUs          float64   `json:"vcpus"`
	MemoryMB       int64     `json:"memory_in_mb"`
	VGPUs          int64     `json:"vgpus"`
	StorageMB      int64     `json:"storage_in_mb"`
	ReservedVCPUs  float64   `json:"reserved_vcpus"`
	ReservedMemory int64     `json:"reserved_memory_in_mb"`
	ReservedVGPUs  int64     `json:"reserved_vgpus"`
	CPUPercent     float64   `json:"cpu_percent"` // used now
	MemoryPercent  float64   `json:"memory_percent"`
	MemoryBytes    int64     `json:"memory_bytes"` // used now
	DiskBytes      int64     `json:"disk_bytes"`   // used now
	AgentVersion   string    `json:"agent_version"`
	LastSeen       string    `json:"last_seen" example:"2025-01-02T03:04:05Z"` // "" for never
	Instances      []Slot    `json:"instances"`
	ToRemove       []Removal `json:"to_remove"`       // the first 100
	ToRemoveTotal  int       `json:"to_remove_total"` // all of them
} // @name Node

// Removal is a deleted instance of which something may be left on a worker.
type Removal struct {
	Slot
	WorkerID string `json:"worker_id"`                                                                                               // "" when its cluster has not said which
	WaitsFor string `json:"waits_for" example:"worker w3 of cluster c1 is lost; if it will not return: oak node rm w3 --cluster c1"` // "" when it is on its way
} // @name Removal

// Slot names an instance.
type Slot struct {
	MicroserviceID string `json:"microserviceID"`
	InstanceNumber int    `json:"instance_number"`
	JobName        string `json:"job_name" example:"clientsrvr.test.nginx.test"` // "" when it has no record
} // @name Slot

// Drained is the answer to a drain: what moves, and what stays and why.
type Drained struct {
	Message string `json:"message" example:"ok"`
	Moving  []Move `json:"moving"`
	Staying []Move `json:"staying"`
} // @name Drained

// Move is what a drain does with an instance.
type Move struct {
	Slot
	To     string `json:"to,omitempty"`     // node id
	Reason string `json:"reason,omitempty"` // why it stays
} // @name Move

// ClusterRemoved is the answer to the removal of a cluster. orphaned lists what
// it was given: those instances start elsewhere, and their containers there go
// on until somebody stops them.
type ClusterRemoved struct {
	Message  string `json:"message" example:"ok"`
	Orphaned []Slot `json:"orphaned"`
} // @name ClusterRemoved

// Recovery says whether the root waits for its clusters after it lost its
// store, and what runs without a record.
type Recovery struct {
	Active     bool      `json:"recovery"`
	WaitingFor []string  `json:"waiting_for"` // cluster names
	Unknown    []Unknown `json:"unknown"`
} // @name Recovery

// Orphan is a container that runs without a record. Nothing removes it by
// itself.
type Orphan struct {
	ClusterID      string `json:"cluster_id"`
	ClusterName    string `json:"cluster_name"`
	NodeID         string `json:"node_id"` // "" when its cluster holds it and runs it nowhere
	Host           string `json:"host"`
	MicroserviceID string `json:"microserviceID"` // "" when its service is not known
	JobName        string `json:"job_name"`
	InstanceNumber int    `json:"instance_number"`
	Epoch          string `json:"epoch" example:"1.2/3"`                // 0.0/0 of an agent without epochs
	Since          string `json:"since" example:"2025-01-02T03:04:05Z"` // listed by this root without a break
	Status         string `json:"status" enums:"found,removing"`
	Reason         string `json:"reason"` // why no record explains it
} // @name Orphan

// Unknown is a container that runs without a record. It is never removed by
// itself; see Orphan.
type Unknown struct {
	ClusterID      string `json:"cluster_id"`
	NodeID         string `json:"node_id"`
	JobName        string `json:"job_name"`
	MicroserviceID string `json:"microserviceID"`
	InstanceNumber int    `json:"instance_number"`
	Epoch          string `json:"epoch"`
} // @name Unknown

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status  string `json:"status" enums:"ok,not ready"`
	Version string `json:"version"`
	Reason  string `json:"reason,omitempty"`
} // @name Health
