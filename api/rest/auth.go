package rest

// Login is the body of POST /api/auth/login.
type Login struct {
	Username string `json:"username" example:"Admin"`
	Password string `json:"password" example:"Admin"`
	// OrganizationName is optional: the organization whose roles count, else
	// the one the user belongs to.
	OrganizationName string `json:"organization_name,omitempty" example:"root"`
} // @name Login

// Session is the answer to a login.
type Session struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refresh_token"`
	// MustChangePassword is true while the account has the default password.
	MustChangePassword bool `json:"must_change_password"`
} // @name Session

// Token is the answer to a refresh. The refresh token that was sent works
// until this new one was used.
type Token struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refresh_token"`
} // @name Token

// PasswordChange is the body of POST /api/user/{username}.
type PasswordChange struct {
	OldPassword string `json:"oldPassword"`
	NewPassword string `json:"newPassword"` // at least 8 characters
} // @name PasswordChange

// Empty is an object without fields.
type Empty struct{} // @name Empty

// Message is the answer of calls that have nothing else to say.
type Message struct {
	Message string `json:"message" example:"ok"`
} // @name Message

// Error is the body of every answer that is no success.
type Error struct {
	Code    int    `json:"code" example:"422"`
	Status  string `json:"status" example:"Unprocessable Entity"`
	Message string `json:"message"`
	// Errors lists what is wrong with a descriptor.
	Errors    []Problem `json:"errors,omitempty"`
	RequestID string    `json:"request_id"`
} // @name Error

// Problem is one thing that is wrong with an input.
type Problem struct {
	Path    string `json:"path" example:"applications[0].microservices[1].port"`
	Value   string `json:"value" example:"6080:x"`
	Message string `json:"message"`
} // @name Problem

// OID is how documents carry their id.
type OID struct {
	OID string `json:"$oid" example:"63f0a1b2c3d4e5f607182930"`
} // @name OID

// Permissions lists a user's roles.
type Permissions struct {
	Roles []Role `json:"roles"`
} // @name Permissions

// Role is one thing a user may be.
type Role struct {
	Name        string `json:"name" example:"Admin"`
	Description string `json:"description"`
} // @name Role

// User is an account, without anything secret.
type User struct {
	ID    OID    `json:"_id"`
	Name  string `json:"name" example:"Admin"`
	Email string `json:"email"`
	// Roles are names, or objects for clients of 2022.
	Roles              any    `json:"roles" swaggertype:"array,string" example:"Application_Provider"`
	Organization       string `json:"organization"` // id
	CreatedAt          string `json:"created_at" example:"2025-01-02T03:04:05Z"`
	MustChangePassword bool   `json:"must_change_password"`
} // @name User
