package auth

import (
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"

	"oakestra/pkg/errs"
)

// Roles a user can have, as clients know them.
const (
	RoleAdmin          = "Admin"
	RoleOrgAdmin       = "Organization_Admin"
	RoleApplication    = "Application_Provider"
	RoleInfrastructure = "Infrastructure_Provider"
)

// RootOrganization is the name of the organization that always exists. The
// role Admin counts there alone.
const RootOrganization = "root"

var allRoles = []string{RoleAdmin, RoleOrgAdmin, RoleApplication, RoleInfrastructure}

// reserved roles reach beyond one organization: only an Admin gives and takes
// them.
var reserved = []string{RoleAdmin, RoleInfrastructure}

// checkRoles lists what is wrong with roles at a JSON path.
func checkRoles(path string, roles []string, root bool) (p errs.Problems) {
	for i, r := range roles {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !slices.Contains(allRoles, r):
			p = append(p, errs.Problem{Path: at, Value: shown(r), Message: "is no role; there are " + strings.Join(allRoles, ", ")})
		case r == RoleAdmin && !root:
			p = append(p, errs.Problem{Path: at, Value: r, Message: "exists in the organization " + RootOrganization + " alone"})
		case slices.Contains(roles[:i], r):
			p = append(p, errs.Problem{Path: at, Value: r, Message: "is there twice"})
		}
	}
	return p
}

// mayChange is Forbidden when the change from one set of roles to another is
// not the caller's to make.
func mayChange(by Identity, was, will []string) error {
	if by.Admin() {
		return nil
	}
	for _, r := range reserved {
		if slices.Contains(was, r) != slices.Contains(will, r) {
			return fmt.Errorf("You have not enough permissions! Only an %s gives or takes the role %s: %w", RoleAdmin, r, errs.Forbidden)
		}
	}
	return nil
}

// mayManage says whether the caller may change an account and its password:
// an Admin everyone, an Organization_Admin those who belong to the
// organization and hold nothing that reaches beyond it.
func mayManage(by Identity, u Account) bool {
	if by.Admin() {
		return true
	}
	return by.Has(RoleOrgAdmin) && by.Organization == u.Organization &&
		!slices.ContainsFunc(reserved, func(r string) bool { return slices.Contains(u.Roles, r) })
}

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)
	idForm   = regexp.MustCompile(`^[0-9a-fA-F]{24}$`)
)

// checkName lists what is wrong with the name of a user or an organization.
// Routes take ids and names alike, so a name must never look like an id.
func checkName(path, name string) (p errs.Problems) {
	switch {
	case name == "":
		p = append(p, errs.Problem{Path: path, Message: "is missing"})
	case !nameForm.MatchString(name):
		p = append(p, errs.Problem{Path: path, Value: shown(name), Message: "must be 1 to 64 letters, digits and . _ @ -, beginning with a letter or digit"})
	case idForm.MatchString(name):
		p = append(p, errs.Problem{Path: path, Value: name, Message: "looks like an id: 24 hex digits are no name"})
	}
	return p
}

func checkEmail(address string) (p errs.Problems) {
	if address == "" {
		return nil
	}
	a, err := mail.ParseAddress(address)
	if err != nil || a.Address != address || len(address) > 254 {
		p = append(p, errs.Problem{Path: "email", Value: shown(address), Message: "must be a plain address such as ann@example.org"})
	}
	return p
}

// checkFresh lists what is wrong with a new password; its value is never
// repeated.
func checkFresh(path, fresh string) (p errs.Problems) {
	switch {
	case len(fresh) < MinPassword:
		p = append(p, errs.Problem{Path: path, Message: fmt.Sprintf("needs at least %d characters", MinPassword)})
	case len(fresh) > maxPassword:
		p = append(p, errs.Problem{Path: path, Message: fmt.Sprintf("may have at most %d bytes", maxPassword)})
	}
	return p
}

// shown cuts what a caller sent to a length that fits in an answer.
func shown(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}
