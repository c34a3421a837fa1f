package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/root/store"
)

// EnsureAdmin makes the user Admin when nobody holds that role, with password
// or, when that is empty, the default one. An Admin who still has the default
// password gets a given one; a password that was changed is left alone.
func EnsureAdmin(ctx context.Context, users store.Users, password string) error {
	u, err := users.Get(ctx, AdminName)
	switch {
	case errors.Is(err, errs.NotFound):
		list, err := users.List(ctx)
		if err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		if len(admins(list)) > 0 {
			return nil // Admin was deleted on purpose
		}
		u = newAdmin()
		if password == "" {
			password = DefaultPassword
		}
	case err != nil:
		return fmt.Errorf("look for user %s: %w", AdminName, err)
	case password == "" || !u.MustChangePassword:
		return nil
	}
	u.PasswordHash, err = hashPassword(password)
	if err != nil {
		return fmt.Errorf("password of %s: %w", AdminName, err)
	}
	debug.FreeOSMemory() // a hash at start, and perhaps none for days
	u.MustChangePassword = password == DefaultPassword
	if err := users.Put(ctx, u); err != nil {
		return fmt.Errorf("store user %s: %w", AdminName, err)
	}
	return nil
}

func newAdmin() store.User {
	return store.User{
		ID: model.UserID(newID()), Name: AdminName, Roles: slices.Clone(allRoles), Organization: newID(), CreatedAt: time.Now().UTC(),
	}
}

// EnsureRoot makes the root organization when there is none, under the id
// that Admin's account names already, so that older tokens go on.
func EnsureRoot(ctx context.Context, s Accounts) error {
	list, err := s.Organizations().List(ctx)
	if err != nil {
		return fmt.Errorf("list organizations: %w", err)
	}
	if _, there := byName(list, RootOrganization); there {
		return nil
	}
	id := newID()
	admin, err := s.Users().Get(ctx, AdminName)
	switch {
	case err == nil && idForm.MatchString(admin.Organization):
		id = admin.Organization
	case err != nil && !errors.Is(err, errs.NotFound):
		return fmt.Errorf("look for user %s: %w", AdminName, err)
	}
	o := store.Organization{ID: id, Name: RootOrganization, CreatedAt: time.Now().UTC()}
	if err := s.Organizations().Put(ctx, o); err != nil {
		return fmt.Errorf("store organization %s: %w", RootOrganization, err)
	}
	return nil
}

// admins are the names of those who hold the role Admin.
func admins(list []store.User) (names []string) {
	for _, u := range list {
		if slices.Contains(u.Roles, RoleAdmin) {
			names = append(names, u.Name)
		}
	}
	return names
}
