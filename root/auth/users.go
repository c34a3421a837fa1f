package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// errNotYours refuses without telling whether the other account exists.
func errNotYours(what string) error {
	return fmt.Errorf("You have not enough permissions! %s: %w", what, errs.Forbidden)
}

// NewAccount is what a user is made from.
type NewAccount struct {
	Name, Password, Email string
	Roles                 []string // nil means Application_Provider
	Organization          string   // id or name; "" means the caller's
}

// AccountChange holds what is to change; nil leaves a field as it is. A Name
// may only be the one there is: clients send whole documents.
type AccountChange struct {
	Name, Email, Password *string
	Roles                 []string // nil leaves them
	// OldPassword is asked for when users change their own address.
	OldPassword string
}

// Register makes a user in an organization. Errors: Problems, Conflict for a
// name that is taken (capitals do not distinguish names), Forbidden for
// another organization or a role the caller may not give.
func (a *Auth) Register(ctx context.Context, by Identity, in NewAccount) (Account, error) {
	home, err := a.target(ctx, by, in.Organization)
	if err != nil {
		return Account{}, err
	}
	if in.Roles == nil {
		in.Roles = []string{RoleApplication}
	}
	isRoot := home.Name == RootOrganization
	p := slices.Concat(checkName("name", in.Name), checkFresh("password", in.Password), checkEmail(in.Email), checkRoles("roles", in.Roles, isRoot))
	if len(p) > 0 {
		return Account{}, p
	}
	if err := mayChange(by, nil, in.Roles); err != nil {
		return Account{}, err
	}
	hash, err := a.hash(ctx, in.Password)
	if err != nil {
		return Account{}, err
	}
	u := store.User{
		ID: model.UserID(newID()), Name: in.Name, Email: in.Email, PasswordHash: hash, Organization: home.ID, CreatedAt: a.now().UTC(),
	}
	if isRoot {
		u.Roles = in.Roles
	}
	err = a.change(ctx, func() error { return a.add(ctx, u, home, in.Roles) })
	if err != nil {
		return Account{}, err
	}
	a.log.Info("user registered", "user", u.Name, "organization", home.Name, "roles", in.Roles, "by", by.Name)
	return account(u, home.ID, in.Roles), nil
}

func (a *Auth) add(ctx context.Context, u store.User, home store.Organization, roles []string) error {
	list, err := a.users.List(ctx)
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	for _, other := range list {
		if strings.EqualFold(other.Name, u.Name) {
			return fmt.Errorf("a user %q exists already: %w", other.Name, errs.Conflict)
		}
	}
	if err := a.users.Put(ctx, u); err != nil {
		return fmt.Errorf("store user %q: %w", u.Name, err)
	}
	if home.Name == RootOrganization {
		return nil
	}
	return a.setMember(ctx, home.ID, u.ID, roles)
}

// target is the organization the caller acts in.
func (a *Auth) target(ctx context.Context, by Identity, wanted string) (store.Organization, error) {
	list, err := a.organizations(ctx)
	if err != nil {
		return store.Organization{}, err
	}
	if wanted == "" {
		wanted = by.Organization
	}
	o, there := byName(list, wanted)
	if !there {
		o, there = byID(list, wanted)
	}
	switch {
	case !by.Admin() && (!there || o.ID != by.Organization):
		return store.Organization{}, errNotYours("This is another organization")
	case !there:
		return store.Organization{}, fmt.Errorf("organization %q: %w", shown(wanted), errs.NotFound)
	}
	return o, nil
}

// User returns an account: the caller's own or one the caller may manage.
// Errors: Forbidden, and NotFound to an Admin.
func (a *Auth) User(ctx context.Context, by Identity, name string) (Account, error) {
	if name == by.Name {
		return by.Account, nil
	}
	_, acc, err := a.managed(ctx, by, name)
	return acc, err
}

// managed finds an account that the caller may manage, under the roles of the
// organization it belongs to.
func (a *Auth) managed(ctx context.Context, by Identity, name string) (store.User, Account, error) {
	denied := errNotYours(fmt.Sprintf("This is for user %q alone", shown(name)))
	if !by.Admin() && !by.Has(RoleOrgAdmin) {
		return store.User{}, Account{}, denied
	}
	u, err := a.users.Get(ctx, name)
	switch {
	case errors.Is(err, errs.NotFound) && !by.Admin():
		return store.User{}, Account{}, denied
	case err != nil:
		return store.User{}, Account{}, err
	}
	list, err := a.organizations(ctx)
	if err != nil {
		return store.User{}, Account{}, err
	}
	acc := atHome(u, list)
	if !mayManage(by, acc) {
		return store.User{}, Account{}, denied
	}
	return u, acc, nil
}

// Users lists the accounts of one organization (id or name), or all for "",
// which only an Admin may.
func (a *Auth) Users(ctx context.Context, by Identity, organization string) ([]Account, error) {
	if organization != "" {
		o, err := a.target(ctx, by, organization)
		if err != nil {
			return nil, err
		}
		return a.accounts(ctx, func(u store.User) (Account, bool) { return member(u, o) })
	}
	if !by.Admin() {
		return nil, errNotYours("All users are for an Admin")
	}
	list, err := a.organizations(ctx)
	if err != nil {
		return nil, err
	}
	return a.accounts(ctx, func(u store.User) (Account, bool) { return atHome(u, list), true })
}

func (a *Auth) accounts(ctx context.Context, f func(store.User) (Account, bool)) ([]Account, error) {
	users, err := a.users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	out := []Account{}
	for _, u := range users {
		if acc, ok := f(u); ok {
			out = append(out, acc)
		}
	}
	return out, nil
}

// UpdateUser changes an account. Everyone may change the own e-mail address,
// with the password: a stolen session could otherwise reset it by mail. The
// rest is for who manages the account. Errors: Problems, Forbidden, NotFound,
// Conflict when no Admin would be left, Unauthenticated and Throttled for a
// wrong old password.
func (a *Auth) UpdateUser(ctx context.Context, by Identity, name string, c AccountChange, from netip.Addr) error {
	u, acc, err := a.managed(ctx, by, name)
	if err != nil {
		if name != by.Name || !errors.Is(err, errs.Forbidden) {
			return err
		}
		if c.Password != nil || c.Roles != nil && !sameRoles(c.Roles, by.Roles) {
			return errNotYours("You may change your own email here; your password with POST; roles are given by an " + RoleAdmin)
		}
		c.Roles = nil
	}
	if name == by.Name && c.Password != nil {
		return errNotYours("Your own password changes with POST, which asks for the old one")
	}
	var hash string
	if err := a.checkChange(ctx, name, by, acc, c); err != nil {
		return err
	}
	if err := a.confirm(ctx, by, name, c, from); err != nil {
		return err
	}
	if c.Password != nil {
		if hash, err = a.hash(ctx, *c.Password); err != nil {
			return err
		}
		if err := a.dropTokens(ctx, u, store.TokenAPI, store.TokenReset); err != nil {
			return err
		}
	}
	err = a.change(ctx, func() error { return a.apply(ctx, name, acc, c, hash) })
	if err == nil {
		a.log.Info("user changed", "user", name, "by", by.Name, "password", c.Password != nil, "roles", c.Roles)
	}
	return err
}

// confirm asks for the password where an address is the key to it.
func (a *Auth) confirm(ctx context.Context, by Identity, name string, c AccountChange, from netip.Addr) error {
	if name != by.Name || by.Admin() || c.Email == nil || *c.Email == by.Email {
		return nil
	}
	if c.OldPassword == "" {
		return errs.Problems{{Path: "oldPassword", Message: "is needed to change your own email"}}
	}
	_, err := a.verifyPassword(ctx, name, c.OldPassword, from)
	return err
}

func (a *Auth) checkChange(ctx context.Context, name string, by Identity, acc Account, c AccountChange) error {
	var p errs.Problems
	if c.Name != nil && *c.Name != name {
		p = append(p, errs.Problem{Path: "name", Value: shown(*c.Name), Message: "cannot change"})
	}
	if c.Email != nil {
		p = append(p, checkEmail(*c.Email)...)
	}
	if c.Password != nil {
		p = append(p, checkFresh("password", *c.Password)...)
	}
	if c.Roles != nil {
		home, err := a.organization(ctx, acc.Organization)
		if err != nil {
			return err
		}
		p = append(p, checkRoles("roles", c.Roles, home.Name == RootOrganization)...)
	}
	if len(p) > 0 {
		return p
	}
	if c.Roles == nil {
		return nil
	}
	return mayChange(by, acc.Roles, c.Roles)
}

// apply writes a checked change.
func (a *Auth) apply(ctx context.Context, name string, acc Account, c AccountChange, hash string) error {
	home, err := a.organization(ctx, acc.Organization)
	if err != nil && c.Roles != nil {
		return err
	}
	inRoot := home.Name == RootOrganization
	if c.Roles != nil && inRoot && !slices.Contains(c.Roles, RoleAdmin) {
		if err := a.notLast(ctx, name); err != nil {
			return err
		}
	}
	_, err = a.users.Update(ctx, name, func(u store.User) (store.User, error) {
		if c.Email != nil {
			u.Email = *c.Email
		}
		if hash != "" {
			u.PasswordHash, u.MustChangePassword = hash, false
		}
		if c.Roles != nil && inRoot {
			u.Roles = c.Roles
		}
		return u, nil
	})
	if err != nil {
		return fmt.Errorf("store user %q: %w", name, err)
	}
	if c.Roles == nil || inRoot {
		return nil
	}
	return a.setMember(ctx, home.ID, acc.ID, c.Roles)
}

// notLast is Conflict when nobody but this user is an Admin.
func (a *Auth) notLast(ctx context.Context, name string) error {
	list, err := a.users.List(ctx)
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	if slices.Equal(admins(list), []string{name}) {
		return fmt.Errorf("%q is the last %s: give another user that role first: %w", name, RoleAdmin, errs.Conflict)
	}
	return nil
}

// DeleteUser removes an account with its tokens and memberships. Errors:
// Forbidden, NotFound, Conflict for the last Admin and while the user owns
// applications.
func (a *Auth) DeleteUser(ctx context.Context, by Identity, name string) error {
	u, _, err := a.managed(ctx, by, name)
	if err != nil {
		return err
	}
	err = a.change(ctx, func() error {
		if err := a.notLast(ctx, name); err != nil {
			return err
		}
		if err := a.ownsNothing(ctx, name); err != nil {
			return err
		}
		// The account goes last: what fails before can be tried again.
		if err := a.dropTokens(ctx, u, store.TokenAPI, store.TokenReset, store.TokenSession); err != nil {
			return err
		}
		if err := a.leaveAll(ctx, u.ID); err != nil {
			return err
		}
		return a.users.Delete(ctx, name)
	})
	if err == nil {
		a.log.Info("user deleted", "user", name, "by", by.Name)
	}
	return err
}

func (a *Auth) ownsNothing(ctx context.Context, name string) error {
	apps, err := a.store.Applications().List(ctx, name)
	if err != nil {
		return fmt.Errorf("applications of %q: %w", name, err)
	}
	var names []string
	for _, app := range apps {
		names = append(names, app.Name+"."+app.Namespace)
	}
	if len(names) > 0 {
		return fmt.Errorf("%q still owns the applications %s: delete them first: %w", name, strings.Join(names, ", "), errs.Conflict)
	}
	return nil
}

// NameOf finds a user by id or name. Error: NotFound.
func (a *Auth) NameOf(ctx context.Context, idOrName string) (string, error) {
	u, err := a.find(ctx, idOrName)
	return u.Name, err
}

func (a *Auth) find(ctx context.Context, idOrName string) (store.User, error) {
	list, err := a.users.List(ctx)
	if err != nil {
		return store.User{}, fmt.Errorf("list users: %w", err)
	}
	for _, u := range list {
		if string(u.ID) == idOrName || u.Name == idOrName {
			return u, nil
		}
	}
	return store.User{}, fmt.Errorf("user %q: %w", shown(idOrName), errs.NotFound)
}

func sameRoles(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
