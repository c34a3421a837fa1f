package mqtt

// RegisterPath is where a NodeEngine registers at its cluster manager (HTTP POST, port 10100).
const RegisterPath = "/api/node/register"

// Register is the registration a NodeEngine sends. Both vocabularies of the
// original (up to v0.4.402, and v0.4.410 on) are accepted; ours sends the old
// one plus the extra fields.
type Register struct {
	ID             string            `json:"id"`
	Host           string            `json:"host"`
	IP             string            `json:"ip"`
	Port           string            `json:"port"`
	SystemInfo     map[string]string `json:"system_info"`
	CPU            float64           `json:"cpu"`        // load average, not per cent
	FreeCores      int               `json:"free_cores"` // logical cores in all
	Memory         float64           `json:"memory"`     // per cent used
	MemoryFreeInMB int64             `json:"memory_free_in_MB"`
	DiskInfo       map[string]string `json:"disk_info"`
	NetworkInfo    map[string]string `json:"network_info"`
	GPUInfo        map[string]string `json:"gpu_info"`
	GPUCores       int               `json:"gpu_cores,omitempty"`
	Technology     []string          `json:"technology"` // "docker", ...
	Overlay        bool              `json:"Overlay"`
	NetManagerPort int               `json:"NetManagerPort"`
	Architecture   string            `json:"architecture,omitempty"`

	// ours
	NodeKey  string `json:"node_key,omitempty"` // random, kept by the node: the same machine, not just the same name
	Boot     string `json:"boot,omitempty"`     // random per agent start
	Version  string `json:"agent_version,omitempty"`
	MemoryMB int64  `json:"memory_total_mb,omitempty"`
	DiskMB   int64  `json:"disk_total_mb,omitempty"`
	MilliCPU int64  `json:"milli_cpu,omitempty"`
	// Abilities are what the node can be asked besides, see AbilityLogs.
	Abilities []string `json:"abilities,omitempty"`
}

// Registered is the answer. ID and MQTTPort must be JSON strings.
type Registered struct {
	ID       string `json:"id"`
	MQTTPort string `json:"MQTT_BROKER_PORT"`

	// ours
	MQTTHost       string `json:"mqtt_broker_url,omitempty"` // "" = the address registered at
	CombinedReport bool   `json:"combined_report,omitempty"` // Information may carry Services; Resources is then not sent
	ClusterID      string `json:"cluster_id,omitempty"`
	ReportMS       int    `json:"report_ms,omitempty"`
}
