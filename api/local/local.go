package local

// The paths of the local API. All are POST; a GET is 405.
const (
	PathRegister       = "/register"
	PathDeploy         = "/container/deploy"
	PathUndeploy       = "/container/undeploy"
	PathUndeployDocker = "/docker/undeploy" // alias used by early engines
	PathDeployDocker   = "/docker/deploy"   // answers 299 DEPRECATED API
	// SocketPath is where late original NodeEngines look for NetManager.
	SocketPath = "/etc/netmanager/netmanager.sock"
)

// Register opens the conversation: 200 with Registered; the same id again is
// 200, another id 400. It blocks up to 10 s for the node's subnet.
type Register struct {
	ClientID       string `json:"client_id"`
	ClusterAddress string `json:"cluster_address,omitempty"`

	// ours
	MQTTPort int    `json:"mqtt_port,omitempty"`
	NodeKey  string `json:"node_key,omitempty"`
}

// Registered is our answer; the original's is empty.
type Registered struct {
	Subnet string `json:"subnet,omitempty"` // CIDR
	DNS    string `json:"dns,omitempty"`    // resolver for containers, "" = none
}

// Deploy asks for the network of a created, not yet started task.
type Deploy struct {
	Pid            int    `json:"pid"`
	ServiceName    string `json:"serviceName"` // job name
	InstanceNumber int    `json:"instanceNumber"`
	PortMappings   string `json:"portMappings"`

	// ours
	ServiceID  string `json:"serviceId,omitempty"`
	Grant      uint64 `json:"grant,omitempty"`
	Try        uint32 `json:"try,omitempty"`
	InstanceIP string `json:"instanceIp,omitempty"`
	ServiceIP  string `json:"serviceIp,omitempty"`
	Tenant     string `json:"tenant,omitempty"`
}

// Deployed answers Deploy. Deploying the same attempt again answers the same.
type Deployed struct {
	ServiceName string `json:"serviceName"`
	NSAddress   string `json:"nsAddress"`
	NSAddressV6 string `json:"nsAddressv6"`

	// ours
	DNS string `json:"dns,omitempty"` // resolver for the container's resolv.conf
	MTU int    `json:"mtu,omitempty"`
}

// Undeploy removes a container's network: 200 always, also for unknown ones.
// With Grant set only that attempt is meant.
type Undeploy struct {
	Pid            int    `json:"pid"`
	ServiceName    string `json:"serviceName"`
	InstanceNumber int    `json:"instanceNumber"`
	PortMappings   string `json:"portMappings"`

	// ours
	ServiceID string `json:"serviceId,omitempty"`
	Grant     uint64 `json:"grant,omitempty"`
	Try       uint32 `json:"try,omitempty"`
}

// Failure is the body of every answer that is not 200.
type Failure struct {
	Message string `json:"message"`
}
