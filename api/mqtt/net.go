package mqtt

// SubnetRequest asks for the node's /26.
type SubnetRequest struct {
	Method string `json:"METHOD"` // "GET"
}

// SubnetResult is the base address of the node's subnet. Late original
// NetManagers exit unless addressv6 is there.
type SubnetResult struct {
	Address   string `json:"address"`
	AddressV6 string `json:"addressv6"`

	// ours
	Bits  int    `json:"bits,omitempty"`  // prefix length, 26
	Error string `json:"error,omitempty"` // why there is none yet; ask again
}

// Deployed says that a container's network and the node's rules are in.
type Deployed struct {
	AppName        string `json:"appname"` // the job name
	Status         string `json:"status"`  // DEPLOYED
	InstanceNumber int    `json:"instance_number"`
	NamespaceIP    string `json:"nsip"`
	NamespaceIPv6  string `json:"nsipv6"`
	HostPort       string `json:"host_port"` // a string here
	HostIP         string `json:"host_ip"`

	// ours
	ServiceID string `json:"service_id,omitempty"`
	Grant     uint64 `json:"grant,omitempty"`
	Try       uint32 `json:"try,omitempty"`
	// Pending: nothing listens in the container yet. It is sent again without
	// once something does, or when it has had its time.
	Pending bool `json:"pending,omitempty"`
}

// Undeployed says that an endpoint is gone; only our NetManager sends it.
type Undeployed struct {
	AppName        string `json:"appname"`
	InstanceNumber int    `json:"instance_number"`
	NamespaceIP    string `json:"nsip"`
	ServiceID      string `json:"service_id,omitempty"`
	Grant          uint64 `json:"grant,omitempty"`
	Try            uint32 `json:"try,omitempty"`
}

// TableQuery asks for a service by name or by one of its addresses.
type TableQuery struct {
	Name    string `json:"sname"`
	Address string `json:"sip"`
}

// TableResult answers every TableQuery at once; an unknown service has an
// empty list. QueryKey echoes what was asked.
type TableResult struct {
	AppName  string          `json:"app_name"`
	QueryKey string          `json:"query_key"`
	Entries  []TableInstance `json:"instance_list"`

	// ours
	Version   uint64 `json:"version,omitempty"` // NetState.Version that holds this table; arrives before this answer
	ServiceID string `json:"service_id,omitempty"`
}

// TableInstance is one instance in the original's form. HostPort must be a number.
type TableInstance struct {
	InstanceNumber int              `json:"instance_number"`
	NamespaceIP    string           `json:"namespace_ip"`
	NamespaceIPv6  string           `json:"namespace_ip_v6"`
	HostIP         string           `json:"host_ip"`
	HostPort       int              `json:"host_port"`
	ServiceIP      []ServiceAddress `json:"service_ip"`
}

// ServiceAddress is one address under which an instance can be reached.
type ServiceAddress struct {
	IPType    string `json:"IpType"` // RR or instance_ip
	Address   string `json:"Address"`
	AddressV6 string `json:"Address_v6"`
}

// InterestRemove says that a node no longer talks to a service.
type InterestRemove struct {
	AppName string `json:"appname"` // job name or address
}

// UpdatesAvailable tells original NetManagers to ask again.
type UpdatesAvailable struct {
	Type string `json:"type"` // DEPLOYMENT or UNDEPLOYMENT
}

// NetReport is our NetManager's sign of life and, with Snapshot, the full list
// of endpoints it serves and services it is interested in. The first message
// of every MQTT session has Snapshot set; the cluster then sends a NetState
// snapshot.
type NetReport struct {
	Boot      string     `json:"boot"`
	Seq       uint64     `json:"seq"`
	Snapshot  bool       `json:"snapshot,omitempty"`
	Dataplane string     `json:"dataplane,omitempty"` // "vxlan"
	HostIP    string     `json:"host_ip,omitempty"`   // underlay address others send to
	HostPort  int        `json:"host_port,omitempty"` // underlay UDP port others send to
	Subnet    string     `json:"subnet,omitempty"`    // CIDR in use, "" when none yet
	Applied   uint64     `json:"applied,omitempty"`   // NetState.Version in the kernel
	Version   string     `json:"agent_version,omitempty"`
	Endpoints []Deployed `json:"endpoints,omitempty"`
	Interests []string   `json:"interests,omitempty"` // service names
}

// NetAck says that NetState.Version is in the kernel.
type NetAck struct {
	Boot    string `json:"boot"`
	Version uint64 `json:"version"`
	Error   string `json:"error,omitempty"`
}

// NetState is everything NetManager must know, as a snapshot or as what
// changed. Versions grow per node and cluster-manager start; a gap or another
// Epoch makes NetManager ask for a snapshot by a NetReport with Snapshot.
type NetState struct {
	Epoch      string   `json:"epoch"` // cluster manager's start
	Base       uint64   `json:"base"`  // the version this change builds on; 0 with Snapshot
	Version    uint64   `json:"version"`
	Snapshot   bool     `json:"snapshot,omitempty"`
	Tables     []Table  `json:"tables,omitempty"`
	GoneTables []string `json:"gone_tables,omitempty"` // service ids
	Peers      []Peer   `json:"peers,omitempty"`
	GonePeers  []string `json:"gone_peers,omitempty"` // node ids (with cluster id prefix when foreign)
}

// Table is one service as this node must balance it.
type Table struct {
	ServiceID string       `json:"service_id"`
	Name      string       `json:"name"`
	Address   string       `json:"address"` // service address
	Tenant    string       `json:"tenant,omitempty"`
	Entries   []TableEntry `json:"entries,omitempty"`
}

// TableEntry is one endpoint of a service. Leaving endpoints are not listed.
type TableEntry struct {
	Instance    int    `json:"instance"`
	InstanceIP  string `json:"instance_ip"`
	NamespaceIP string `json:"nsip"`
	Node        string `json:"node"`
}

// Peer is another worker: how to reach its subnet, and who its containers are.
type Peer struct {
	Node       string     `json:"node"`
	HostIP     string     `json:"host_ip"`
	HostPort   int        `json:"host_port"`
	Subnet     string     `json:"subnet"`
	Dataplane  string     `json:"dataplane"`
	Identities []Identity `json:"identities,omitempty"`
}

// Identity says which instance a container address is.
type Identity struct {
	NamespaceIP string `json:"nsip"`
	InstanceIP  string `json:"instance_ip"`
	Tenant      string `json:"tenant,omitempty"`
}
