package mqtt

// Information is the 2-second report. Original agents fill only the four
// numbers; the other original fields arrive as zero values and overwrite
// nothing.
type Information struct {
	ID             string  `json:"id"`
	Host           string  `json:"host"`
	IP             string  `json:"ip"`
	Port           string  `json:"port"`
	CPU            float64 `json:"cpu"`
	FreeCores      int     `json:"free_cores"`
	Memory         float64 `json:"memory"`
	MemoryFreeInMB int64   `json:"memory_free_in_MB"`
	Overlay        bool    `json:"Overlay"`
	NetManagerPort int     `json:"NetManagerPort"`

	// ours
	Boot       string          `json:"boot,omitempty"`
	Seq        uint64          `json:"seq,omitempty"`
	CPUPercent float64         `json:"cpu_used_percent,omitempty"`
	Combined   bool            `json:"combined,omitempty"` // Services is the complete list of what this node holds
	Services   []ServiceReport `json:"services,omitempty"`
}

// ServiceReport is one container in a report. The original's five fields are
// strings where it sends strings.
type ServiceReport struct {
	JobName        string `json:"job_name"`
	Instance       int    `json:"instance"`
	Virtualization string `json:"virtualization"`
	CPU            string `json:"cpu"`    // per cent of one core
	Memory         string `json:"memory"` // bytes
	Disk           string `json:"disk"`   // bytes
	Logs           string `json:"logs,omitempty"`

	// ours
	ServiceID   string `json:"service_id,omitempty"`
	Grant       uint64 `json:"grant,omitempty"`
	Try         uint32 `json:"try,omitempty"`
	State       string `json:"state,omitempty"` // CREATING CREATED RUNNING COMPLETED DEAD FAILED UNDEPLOYED
	StateSeq    uint64 `json:"state_seq,omitempty"`
	Reason      string `json:"reason,omitempty"`
	ExitCode    int32  `json:"exit_code,omitempty"`
	NamespaceIP string `json:"nsip,omitempty"`
	Pid         uint32 `json:"pid,omitempty"`
	// Restarting: RUNNING, but not just now: its machine has booted, and it is
	// being started again.
	Restarting bool `json:"restarting,omitempty"`
}

// Resources is the original's list of running containers.
type Resources struct {
	Services []ServiceReport `json:"services"`
}

// Job is a state change of one container: the edge that makes the level
// (ServiceReport.State) be looked at sooner.
type Job struct {
	Name         string `json:"sname"`
	Status       string `json:"status"` // ACTIVE CREATED FAILED DEAD COMPLETED UNDEPLOYED, ours also CREATING RUNNING
	StatusDetail string `json:"status_detail"`
	Instance     int    `json:"instance"`
	PublicIP     string `json:"publicip"`

	// ours
	ServiceID string `json:"service_id,omitempty"`
	Grant     uint64 `json:"grant,omitempty"`
	Try       uint32 `json:"try,omitempty"`
	StateSeq  uint64 `json:"state_seq,omitempty"`
	ExitCode  int32  `json:"exit_code,omitempty"`
	Boot      string `json:"boot,omitempty"`
}

// Gone is the last will of one of our agents.
type Gone struct {
	Agent string `json:"agent"` // "node" or "net"
	Boot  string `json:"boot"`
}

// Deploy tells a node to run one attempt. Numbers must be JSON integers or
// original engines drop the whole message.
type Deploy struct {
	ID             string   `json:"_id"` // service id
	JobName        string   `json:"job_name"`
	InstanceNumber int      `json:"instance_number"`
	Image          string   `json:"image"`
	Command        []string `json:"cmd"`
	Environment    []string `json:"environment"`
	Port           string   `json:"port"`
	Status         string   `json:"status"`
	Virtualization string   `json:"virtualization"` // must be one of the node's technologies
	VTPUs          int      `json:"vtpus"`
	VGPUs          int      `json:"vgpus"`
	VCPUs          int      `json:"vcpus"`
	Memory         int      `json:"memory"` // MiB
	Storage        int      `json:"storage"`
	OneShot        bool     `json:"one_shot"`
	Arch           []string `json:"arch,omitempty"`

	// ours
	Grant      uint64 `json:"grant,omitempty"`
	Try        uint32 `json:"try,omitempty"`
	MilliCPU   int64  `json:"milli_cpu,omitempty"`
	InstanceIP string `json:"instance_ip,omitempty"` // 10.30 address of the slot
	ServiceIP  string `json:"service_ip,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
}

// Delete tells a node to stop and forget an attempt. With Grant set that attempt
// alone is meant, without all of the slot.
type Delete struct {
	JobName        string `json:"job_name"`
	Virtualization string `json:"virtualization"`
	InstanceNumber int    `json:"instance_number"`

	// ours
	ServiceID string `json:"service_id,omitempty"`
	Grant     uint64 `json:"grant,omitempty"`
	Try       uint32 `json:"try,omitempty"`
	GraceMS   int64  `json:"grace_ms,omitempty"` // TERM to KILL; 0 = the node's default
}
