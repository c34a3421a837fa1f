package mqtt

// SessionPath is where a NodeEngine that was rung opens a session at its cluster
// manager (a WebSocket, port 10100); the id follows.
const SessionPath = "/session/"

// What a NodeEngine may say it can do when it registers. One that names none is
// an original, or of a version without sessions, and is never rung.
const (
	AbilityLogs = "logs"
	AbilityExec = "exec"
)

// Session rings a NodeEngine: it dials SessionPath + ID, once, within 10 s, and
// serves there what Kind says of one attempt.
type Session struct {
	ID             string `json:"id"`
	Kind           string `json:"kind"` // one of the abilities
	ServiceID      string `json:"service_id"`
	InstanceNumber int    `json:"instance_number"`
	Grant          uint64 `json:"grant"`
	Try            uint32 `json:"try"`

	// of logs
	Follow  bool  `json:"follow,omitempty"`
	Tail    int64 `json:"tail,omitempty"`     // lines; 0 = all
	SinceMS int64 `json:"since_ms,omitempty"` // 0 = all

	// of exec
	Command []string `json:"command,omitempty"`
	Stdin   bool     `json:"stdin,omitempty"`
	TTY     bool     `json:"tty,omitempty"`
	Columns uint32   `json:"columns,omitempty"`
	Rows    uint32   `json:"rows,omitempty"`
}
