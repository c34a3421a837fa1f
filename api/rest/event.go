package rest

// Event is one thing that happened, or the same thing several times.
type Event struct {
	ID      string  `json:"id" example:"6789abcd00000001-42"` // grows, also over restarts
	Time    string  `json:"time" example:"2025-01-02T03:04:05Z"`
	First   string  `json:"first_time" example:"2025-01-02T03:04:05Z"`
	Count   int     `json:"count" example:"1"`
	Kind    string  `json:"kind" enums:"normal,warning"`
	Subject Subject `json:"subject"`
	Reason  string  `json:"reason" example:"Running"`
	Message string  `json:"message" example:"CREATED -> RUNNING on worker-1"`
} // @name Event

// Subject is what an event is about. Ids of instances are
// "<service id>/<number>", those of nodes "<cluster id>/<node id>".
type Subject struct {
	Type string `json:"type" enums:"application,service,instance,cluster,node,root"`
	ID   string `json:"id"`
	Name string `json:"name"`
} // @name Subject
