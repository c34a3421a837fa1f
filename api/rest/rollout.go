package rest

// Rollout is how far the instances of a service are brought to what it says.
type Rollout struct {
	Revision       uint64 `json:"revision" example:"1"` // the last one that was rolled out completely
	Target         uint64 `json:"target" example:"2"`   // the present one
	Updated        int    `json:"updated"`              // instances that were given the target, or what is the same
	Total          int    `json:"total"`
	MaxUnavailable int    `json:"max_unavailable" example:"1"`
	State          string `json:"state" enums:"done,running,failed"`
	Message        string `json:"message"` // why it failed, or what it waits for
} // @name Rollout

// Revision is one of the specs a service had.
type Revision struct {
	Revision uint64   `json:"revision" example:"1"`
	Present  bool     `json:"present"`
	Image    string   `json:"image"`
	Command  []string `json:"cmd"`
	Port     string   `json:"port"`
	Memory   int64    `json:"memory"` // MiB
	VCPUs    float64  `json:"vcpus"`
	Changes  []string `json:"changes"` // fields that differ from the revision before it in this list
} // @name Revision

// Rollback names a revision to go back to.
type Rollback struct {
	Revision uint64 `json:"revision,omitempty" example:"1"` // left out: the one before the present
} // @name Rollback

// Scale is how many instances are wanted.
type Scale struct {
	Replicas int `json:"replicas" example:"3"`
} // @name Scale

// Scaled is the answer to POST /api/service/{id}/scale.
type Scaled struct {
	Message  string `json:"message" example:"ok"`
	Replicas int    `json:"replicas"`
	Added    []int  `json:"added"`   // instance numbers
	Removed  []int  `json:"removed"` // instance numbers
} // @name Scaled

// Applied is the answer to POST /api/apply.
type Applied struct {
	DryRun   bool          `json:"dry_run"`
	Created  []AppliedItem `json:"created"`
	Changed  []AppliedItem `json:"changed"`
	Left     []AppliedItem `json:"left"`
	Warnings []string      `json:"warnings"`
} // @name Applied

// AppliedItem is an application or a service that a descriptor names, or that
// belongs to an application it names.
type AppliedItem struct {
	Kind string `json:"kind" enums:"application,service"`
	Name string `json:"name" example:"clientsrvr.test.nginx.test"`
	ID   string `json:"id"`                  // "" for what a dry run would create
	What string `json:"what" example:"code"` // fields that change, or why nothing does
} // @name AppliedItem

// Volume is kept as it came.
type Volume struct {
	ID        string         `json:"volume_id"`
	Driver    string         `json:"csi_driver"`
	MountPath string         `json:"mount_path,omitempty"`
	Config    map[string]any `json:"config,omitempty" swaggertype:"object,string"`
} // @name Volume

// Connection is kept as it came.
type Connection struct {
	Target      string       `json:"target_microservice_id"`
	Constraints []Constraint `json:"con_constraints"`
} // @name Connection
