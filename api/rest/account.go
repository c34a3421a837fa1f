package rest

import "encoding/json"

// RoleNames are roles as clients send them: names, or objects with a name.
type RoleNames []string

// UnmarshalJSON reads both forms.
func (r *RoleNames) UnmarshalJSON(raw []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return err
	}
	*r = make(RoleNames, len(list))
	for i, one := range list {
		if len(one) > 0 && one[0] == '{' {
			var object Role
			if err := json.Unmarshal(one, &object); err != nil {
				return err
			}
			(*r)[i] = object.Name
			continue
		}
		if err := json.Unmarshal(one, &(*r)[i]); err != nil {
			return err
		}
	}
	return nil
}

// NewUser is the body of POST /api/auth/register. Further keys are ignored.
type NewUser struct {
	Name     string    `json:"name" example:"ann"`
	Password string    `json:"password" example:"eight or more"`
	Email    string    `json:"email" example:"ann@example.org"`
	Roles    RoleNames `json:"roles" swaggertype:"array,string" example:"Application_Provider"`
	// Organization is an id or a name; absent means yours.
	Organization string `json:"organization,omitempty" example:"root"`
} // @name NewUser

// Registered is the answer to a registration: the user, twice for old clients.
type Registered struct {
	Message string `json:"message" example:"Added new user"`
	User
	Account User `json:"user"`
} // @name Registered

// UserChange is the body of PUT /api/user/{name}. Absent keys leave a field as
// it is; further keys of a user document are ignored.
type UserChange struct {
	Name     *string   `json:"name,omitempty" example:"ann"` // cannot change
	Email    *string   `json:"email,omitempty" example:"ann@example.org"`
	Roles    RoleNames `json:"roles,omitempty" swaggertype:"array,string" example:"Application_Provider"`
	Password *string   `json:"password,omitempty" example:"eight or more"`
	// OldPassword is needed to change your own email, unless you are an Admin.
	OldPassword string `json:"oldPassword,omitempty"`
} // @name UserChange

// ResetRequest is the body of POST /api/user/.
type ResetRequest struct {
	Username string `json:"username" example:"ann"`
	// Domain is the dashboard where the token will be entered; a mail names it
	// when the root is configured with it.
	Domain string `json:"domain" example:"dashboard.example.org"`
} // @name ResetRequest

// Reset is the body of PUT /api/user/.
type Reset struct {
	Token    string `json:"token"`
	Password string `json:"password"` // at least 8 characters
} // @name Reset

// Organization is a group of users.
type Organization struct {
	ID             OID      `json:"_id"`
	OrganizationID string   `json:"organization_id"`
	Name           string   `json:"name" example:"lab"`
	Members        []Member `json:"member"`
} // @name Organization

// Member is one user of an organization.
type Member struct {
	UserID string `json:"user_id" example:"63f0a1b2c3d4e5f607182930"`
	Roles  any    `json:"roles" swaggertype:"array,string" example:"Application_Provider"`
} // @name Member

// OrganizationChange is the body of POST and PUT of organizations.
type OrganizationChange struct {
	Name    string         `json:"name" example:"lab"`
	Members []MemberChange `json:"member"`
} // @name OrganizationChange

// MemberChange names a user, by id or name.
type MemberChange struct {
	UserID string    `json:"user_id" example:"63f0a1b2c3d4e5f607182930"`
	Roles  RoleNames `json:"roles" swaggertype:"array,string" example:"Application_Provider"`
} // @name MemberChange

// NewAPIToken is the body of POST /api/tokens.
type NewAPIToken struct {
	Name   string   `json:"name" example:"ci"`
	Scopes []string `json:"scopes" example:"deploy"` // read, deploy, admin
	// ExpiresAt is a time (RFC 3339) or "never"; absent means in 90 days.
	ExpiresAt string `json:"expires_at,omitempty" example:"2030-01-02T03:04:05Z"`
} // @name NewAPIToken

// APIToken is a credential of a program.
type APIToken struct {
	ID           string   `json:"id" example:"0123456789abcdef"`
	Name         string   `json:"name" example:"ci"`
	Prefix       string   `json:"prefix" example:"oak_0123456789abcdef"` // what its secret begins with
	Scopes       []string `json:"scopes" example:"deploy"`
	Organization string   `json:"organization"`
	CreatedAt    string   `json:"created_at" example:"2025-01-02T03:04:05Z"`
	ExpiresAt    string   `json:"expires_at" example:"never"`
	LastUsed     string   `json:"last_used" example:""` // to ten minutes; empty before the first use
} // @name APIToken

// CreatedAPIToken is the only answer that holds the secret.
type CreatedAPIToken struct {
	APIToken
	Token string `json:"token" example:"oak_0123456789abcdef_..."`
} // @name CreatedAPIToken
