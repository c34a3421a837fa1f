package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// Member names a user, by id or name, and what the user may do.
type Member struct {
	User  string
	Roles []string
}

// organizations lists all; a store without a root organization (Run was never
// reached) has one without id.
func (a *Auth) organizations(ctx context.Context) ([]store.Organization, error) {
	list, err := a.store.Organizations().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list organizations: %w", err)
	}
	if _, there := byName(list, RootOrganization); !there {
		list = append(list, store.Organization{Name: RootOrganization})
	}
	return list, nil
}

func byName(list []store.Organization, name string) (store.Organization, bool) {
	i := slices.IndexFunc(list, func(o store.Organization) bool { return o.Name == name })
	if i < 0 {
		return store.Organization{}, false
	}
	return list[i], true
}

func byID(list []store.Organization, id string) (store.Organization, bool) {
	i := slices.IndexFunc(list, func(o store.Organization) bool { return o.ID == id })
	if i < 0 {
		return store.Organization{}, false
	}
	return list[i], true
}

func (a *Auth) organization(ctx context.Context, id string) (store.Organization, error) {
	list, err := a.organizations(ctx)
	if err != nil {
		return store.Organization{}, err
	}
	o, there := byID(list, id)
	if !there {
		return store.Organization{}, fmt.Errorf("organization %q: %w", shown(id), errs.NotFound)
	}
	return o, nil
}

func account(u store.User, organization string, roles []string) Account {
	return Account{
		ID: u.ID, Name: u.Name, Email: u.Email, CreatedAt: u.CreatedAt, Roles: roles, Organization: organization,
		MustChangePassword: u.MustChangePassword,
	}
}

// member is the account as one organization sees it; false when the user is
// no member. Of root are those who belong to no other one or hold roles there.
func member(u store.User, o store.Organization) (Account, bool) {
	if o.Name == RootOrganization {
		belongs := u.Organization == "" || u.Organization == o.ID
		return account(u, o.ID, u.Roles), belongs || len(u.Roles) > 0
	}
	for _, m := range o.Members {
		if m.User == u.ID {
			// The role Admin reaches everywhere and is never had here.
			return account(u, o.ID, slices.DeleteFunc(slices.Clone(m.Roles), func(r string) bool { return r == RoleAdmin })), true
		}
	}
	return account(u, o.ID, nil), false
}

// atHome is the account in the organization it belongs to.
func atHome(u store.User, list []store.Organization) Account {
	home, there := byID(list, u.Organization)
	if !there {
		home, _ = byName(list, RootOrganization)
	}
	acc, _ := member(u, home)
	return acc
}

// enter chooses the organization of a login.
func (a *Auth) enter(ctx context.Context, u store.User, wanted string) (Account, error) {
	list, err := a.organizations(ctx)
	if err != nil {
		return Account{}, err
	}
	if wanted == "" {
		return atHome(u, list), nil
	}
	o, there := byName(list, wanted)
	if !there {
		return Account{}, fmt.Errorf("organization %q: %w", shown(wanted), errs.NotFound)
	}
	acc, is := member(u, o)
	if !is {
		return Account{}, fmt.Errorf("%s is no member of the organization %q: %w", u.Name, o.Name, errs.Forbidden)
	}
	return acc, nil
}

// within is the account in the organization a token names.
func (a *Auth) within(ctx context.Context, u store.User, id string) (Account, error) {
	list, err := a.organizations(ctx)
	if err != nil {
		return Account{}, err
	}
	o, there := byID(list, id)
	if !there && id == u.Organization { // of a version without organizations
		o, there = byName(list, RootOrganization)
	}
	acc, is := member(u, o)
	if !there || !is && u.Organization != o.ID {
		return Account{}, fmt.Errorf("the user is no longer in the organization of this token: %w", errs.Unauthenticated)
	}
	return acc, nil
}

// Organizations lists them with their members: all to an Admin, to others the
// one they act in.
func (a *Auth) Organizations(ctx context.Context, by Identity) ([]store.Organization, error) {
	list, err := a.organizations(ctx)
	if err != nil {
		return nil, err
	}
	users, err := a.users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	out := []store.Organization{}
	for _, o := range list {
		if !by.Admin() && o.ID != by.Organization {
			continue
		}
		if o.Name == RootOrganization {
			o.Members = nil
			for _, u := range users {
				if acc, is := member(u, o); is {
					o.Members = append(o.Members, store.Member{User: u.ID, Roles: acc.Roles})
				}
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// CreateOrganization makes one and returns its id. Errors: Problems, Conflict
// for a name that is taken.
func (a *Auth) CreateOrganization(ctx context.Context, by Identity, name string, members []Member) (string, error) {
	p := checkName("name", name)
	o := store.Organization{ID: newID(), Name: name, CreatedAt: a.now().UTC()}
	resolved, err := a.resolve(ctx, members, false)
	if p = append(p, resolved.problems...); err == nil && len(p) > 0 {
		err = p
	}
	if err != nil {
		return "", err
	}
	o.Members = resolved.members
	err = a.change(ctx, func() error {
		if err := a.nameFree(ctx, o); err != nil {
			return err
		}
		return a.store.Organizations().Put(ctx, o)
	})
	if err != nil {
		return "", err
	}
	a.log.Info("organization created", "organization", name, "by", by.Name)
	return o.ID, nil
}

func (a *Auth) nameFree(ctx context.Context, o store.Organization) error {
	list, err := a.organizations(ctx)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID != o.ID && strings.EqualFold(other.Name, o.Name) {
			return fmt.Errorf("an organization %q exists already: %w", other.Name, errs.Conflict)
		}
	}
	return nil
}

type resolution struct {
	members  []store.Member
	problems errs.Problems
}

// resolve finds the users of a member list and what is wrong with it.
func (a *Auth) resolve(ctx context.Context, members []Member, root bool) (r resolution, err error) {
	for i, m := range members {
		at := fmt.Sprintf("member[%d]", i)
		u, err := a.find(ctx, m.User)
		switch {
		case errors.Is(err, errs.NotFound):
			r.problems = append(r.problems, errs.Problem{Path: at + ".user_id", Value: shown(m.User), Message: "there is no such user"})
			continue
		case err != nil:
			return r, err
		case slices.ContainsFunc(r.members, func(o store.Member) bool { return o.User == u.ID }):
			r.problems = append(r.problems, errs.Problem{Path: at + ".user_id", Value: shown(m.User), Message: "is there twice"})
		}
		r.problems = append(r.problems, checkRoles(at+".roles", m.Roles, root)...)
		r.members = append(r.members, store.Member{User: u.ID, Roles: m.Roles})
	}
	return r, nil
}

// ChangeOrganization sets the name and the members; "" and nil leave them. Of
// the root organization, whose members are its users, the roles of those named
// are set and the others left. An Organization_Admin changes the members of the
// own one, never a role that reaches beyond it. Errors: Problems, Forbidden,
// NotFound, Conflict.
func (a *Auth) ChangeOrganization(ctx context.Context, by Identity, id, name string, members []Member) error {
	o, err := a.target(ctx, by, id)
	if err != nil {
		return err
	}
	renamed := name != "" && name != o.Name
	isRoot := o.Name == RootOrganization
	switch {
	case renamed && isRoot:
		return fmt.Errorf("the organization %s keeps its name: %w", RootOrganization, errs.Conflict)
	case renamed && !by.Admin():
		return errNotYours("Only an Admin renames an organization")
	}
	var p errs.Problems
	if renamed {
		p = checkName("name", name)
		o.Name = name
	}
	r, err := a.resolve(ctx, members, isRoot)
	if p = append(p, r.problems...); err == nil && len(p) > 0 {
		err = p
	}
	if err != nil {
		return err
	}
	err = a.change(ctx, func() error {
		if isRoot {
			return a.setRootRoles(ctx, by, r.members)
		}
		return a.replace(ctx, by, o, members != nil, r.members)
	})
	if err == nil {
		a.log.Info("organization changed", "organization", o.Name, "by", by.Name)
	}
	return err
}

func (a *Auth) replace(ctx context.Context, by Identity, o store.Organization, set bool, members []store.Member) error {
	if err := a.nameFree(ctx, o); err != nil {
		return err
	}
	_, err := a.store.Organizations().Update(ctx, o.ID, func(was store.Organization) (store.Organization, error) {
		was.Name = o.Name
		if !set {
			return was, nil
		}
		for _, m := range slices.Concat(was.Members, members) {
			if err := mayChange(by, rolesOf(was.Members, m.User), rolesOf(members, m.User)); err != nil {
				return was, err
			}
		}
		was.Members = members
		return was, nil
	})
	return err
}

func rolesOf(members []store.Member, id model.UserID) []string {
	for _, m := range members {
		if m.User == id {
			return m.Roles
		}
	}
	return nil
}

// setRootRoles writes the roles of users, after it has seen that all may
// change and that an Admin is left.
func (a *Auth) setRootRoles(ctx context.Context, by Identity, members []store.Member) error {
	users, err := a.users.List(ctx)
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	var changed []string
	for i, u := range users {
		m := slices.IndexFunc(members, func(m store.Member) bool { return m.User == u.ID })
		if m < 0 || sameRoles(members[m].Roles, u.Roles) {
			continue
		}
		if !by.Admin() && !mayManage(by, account(u, by.Organization, u.Roles)) {
			return errNotYours(fmt.Sprintf("The roles of %q are changed by an Admin", u.Name))
		}
		if err := mayChange(by, u.Roles, members[m].Roles); err != nil {
			return err
		}
		users[i].Roles = members[m].Roles
		changed = append(changed, u.Name)
	}
	if len(admins(users)) == 0 {
		return fmt.Errorf("no %s would be left: %w", RoleAdmin, errs.Conflict)
	}
	for _, u := range users {
		if !slices.Contains(changed, u.Name) {
			continue
		}
		if _, err := a.users.Update(ctx, u.Name, func(was store.User) (store.User, error) {
			was.Roles = u.Roles
			return was, nil
		}); err != nil {
			return fmt.Errorf("store user %q: %w", u.Name, err)
		}
	}
	return nil
}

// DeleteOrganization removes one. Errors: NotFound, Conflict for root and
// while users belong to it.
func (a *Auth) DeleteOrganization(ctx context.Context, by Identity, id string) error {
	o, err := a.target(ctx, by, id)
	if err != nil {
		return err
	}
	if o.Name == RootOrganization {
		return fmt.Errorf("the organization %s stays: %w", RootOrganization, errs.Conflict)
	}
	err = a.change(ctx, func() error {
		users, err := a.users.List(ctx)
		if err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		var names []string
		for _, u := range users {
			if u.Organization == o.ID {
				names = append(names, u.Name)
			}
		}
		if len(names) > 0 {
			return fmt.Errorf("the users %s belong to the organization %q: delete them first: %w", strings.Join(names, ", "), o.Name, errs.Conflict)
		}
		return a.store.Organizations().Delete(ctx, o.ID)
	})
	if err == nil {
		a.log.Info("organization deleted", "organization", o.Name, "by", by.Name)
	}
	return err
}

// setMember adds a member or sets its roles.
func (a *Auth) setMember(ctx context.Context, organization string, id model.UserID, roles []string) error {
	_, err := a.store.Organizations().Update(ctx, organization, func(o store.Organization) (store.Organization, error) {
		o.Members = slices.DeleteFunc(o.Members, func(m store.Member) bool { return m.User == id })
		o.Members = append(o.Members, store.Member{User: id, Roles: roles})
		return o, nil
	})
	if err != nil {
		return fmt.Errorf("members of organization %s: %w", organization, err)
	}
	return nil
}

// leaveAll takes a user out of every member list.
func (a *Auth) leaveAll(ctx context.Context, id model.UserID) error {
	list, err := a.organizations(ctx)
	if err != nil {
		return err
	}
	for _, o := range list {
		if !slices.ContainsFunc(o.Members, func(m store.Member) bool { return m.User == id }) {
			continue
		}
		if _, err := a.store.Organizations().Update(ctx, o.ID, func(o store.Organization) (store.Organization, error) {
			o.Members = slices.DeleteFunc(o.Members, func(m store.Member) bool { return m.User == id })
			return o, nil
		}); err != nil {
			return fmt.Errorf("members of organization %s: %w", o.Name, err)
		}
	}
	return nil
}
