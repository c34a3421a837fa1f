package root

import (
	"net"
	"net/url"
	"strings"

	"oakestra/pkg/errs"
	"oakestra/root/auth"
)

// Config of a system manager. cmd/system-manager fills it from flags and
// environment.
type Config struct {
	Listen        string // host:port of REST, docs and cluster links; port 0 chooses one
	Data          string // directory of the store and its companions
	AdminPassword Secret // of a fresh install; "" = Admin, from private addresses only
	Security      string // "default", "open" or "strict"
	Quoted        bool   // answers in the double-encoded form of one client of 2022
	Mongo         Secret // address of a MongoDB to store in, with its password; "" = a file below Data
	Advertise     string // host:port where other system managers on the same MongoDB reach this one; "" = host name and port of Listen
	RoleObjects   bool   // roles in user documents as objects, as in 2022
	CORSOrigins   string // whose pages may call the API: "*", or origins with commas between
}

// The values of Security.
const (
	securityDefault = "default"
	securityOpen    = "open"
	securityStrict  = "strict"
)

// Secret does not print itself.
type Secret string

// String hides the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(set)"
}

// DefaultConfig is what runs without any setting.
func DefaultConfig() Config {
	return Config{Listen: ":10000", Data: "/var/lib/oakestra/root", Security: securityDefault, CORSOrigins: "*"}
}

// Validate lists every mistake.
func (c Config) Validate() error {
	var p errs.Problems
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		p = append(p, errs.Problem{Path: "-listen", Value: c.Listen, Message: "must be host:port or :port"})
	}
	if strings.TrimSpace(c.Data) == "" {
		p = append(p, errs.Problem{Path: "-data", Message: "must name a directory"})
	}
	switch c.Security {
	case securityDefault, securityOpen, securityStrict:
	default:
		p = append(p, errs.Problem{Path: "OAKESTRA_SECURITY", Value: c.Security, Message: `must be "default", "open" or "strict"`})
	}
	for _, o := range c.origins() {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o) {
			p = append(p, errs.Problem{Path: "OAKESTRA_CORS_ORIGINS", Value: o, Message: "must be *, or origins such as https://dash.example.org with commas between"})
		}
	}
	return append(p, c.misadvertised()...).Err()
}

// misadvertised lists the mistakes in Advertise.
func (c Config) misadvertised() (p errs.Problems) {
	if c.Advertise == "" {
		return nil
	}
	if host, port, err := net.SplitHostPort(c.Advertise); err != nil || host == "" || port == "" || port == "0" {
		p = append(p, errs.Problem{Path: "-advertise", Value: c.Advertise, Message: "must be host:port"})
	}
	if c.Mongo == "" {
		p = append(p, errs.Problem{Path: "-advertise", Value: c.Advertise, Message: "is for several system managers on one MongoDB; set MONGO_URL too"})
	}
	return p
}

// origins are the parts of CORSOrigins.
func (c Config) origins() (list []string) {
	for o := range strings.SplitSeq(c.CORSOrigins, ",") {
		if o = strings.TrimRight(strings.TrimSpace(o), "/"); o != "" {
			list = append(list, o)
		}
	}
	return list
}

// policy says where from the default password works.
func (c Config) policy() auth.Policy {
	switch c.Security {
	case securityOpen:
		return auth.DefaultAnywhere
	case securityStrict:
		return auth.DefaultNever
	}
	return auth.DefaultLocal
}
