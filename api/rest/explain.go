package rest

// Explanation says what would become of one more instance of a service, and
// why others wait. Nothing is placed by asking.
type Explanation struct {
	MicroserviceID string            `json:"microserviceID"`
	JobName        string            `json:"job_name" example:"clientsrvr.test.nginx.test"`
	OneMore        Outlook           `json:"one_more"`
	Waiting        []WaitingInstance `json:"waiting"`       // the first 20
	WaitingTotal   int               `json:"waiting_total"` // all of them
} // @name Explanation

// Outlook is a placement that was tried.
type Outlook struct {
	Possible    bool             `json:"possible"` // a cluster would take it; its workers may refuse still, see clusters
	ClusterID   string           `json:"cluster_id"`
	ClusterName string           `json:"cluster_name"`
	Message     string           `json:"message" example:"no cluster qualifies: memory 1 (kitchen: 512 > 300 MiB free)"`
	Clusters    []ClusterOutlook `json:"clusters"`
} // @name Outlook

// WaitingInstance is an instance that no worker has, or a lost one while its
// cluster replaces nothing; then its outlook says until when.
type WaitingInstance struct {
	Number       int     `json:"instance_number"`
	Status       string  `json:"status" example:"NO_WORKER_CAPACITY"`
	StatusDetail string  `json:"status_detail"`
	Outlook      Outlook `json:"outlook"` // its clusters list workers only if its revision is not the present one
} // @name WaitingInstance

// ClusterOutlook is what the root says of a cluster, and what the cluster says
// of its workers.
type ClusterOutlook struct {
	ClusterID    string          `json:"cluster_id"`
	ClusterName  string          `json:"cluster_name"`
	Qualifies    bool            `json:"qualifies"` // as far as the root knows
	Reason       string          `json:"reason" example:"memory"`
	Detail       string          `json:"detail" example:"kitchen: 512 > 300 MiB free"`
	StatusDetail string          `json:"status_detail"`                                                     // as of the cluster itself
	Answer       string          `json:"answer" enums:"answered,not answering,not connected,older version"` // of the cluster, within 2 s
	Workers      int             `json:"workers"`                                                           // that it judged
	Qualified    int             `json:"qualified"`                                                         // of them
	WorkerID     string          `json:"worker_id"`                                                         // which it would take
	Reasons      []Reason        `json:"reasons"`                                                           // against the others
	Nodes        []WorkerOutlook `json:"nodes"`                                                             // the first 100 by id, fewer with many clusters
	NodesOmitted int             `json:"nodes_omitted"`
} // @name ClusterOutlook

// Reason counts what a filter let not pass, with one example.
type Reason struct {
	Reason string `json:"reason" example:"memory"`
	Count  int    `json:"count" example:"3"`
	Detail string `json:"detail" example:"w3: 512 > 300 MiB free"`
} // @name Reason

// WorkerOutlook is one worker; without a reason it qualifies.
type WorkerOutlook struct {
	ID        string `json:"id"`
	Host      string `json:"host"`
	Qualifies bool   `json:"qualifies"`
	Reason    string `json:"reason" example:"memory"`
	Detail    string `json:"detail" example:"512 > 300 MiB free"`
} // @name WorkerOutlook
