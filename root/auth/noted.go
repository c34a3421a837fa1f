package auth

import (
	"context"

	"oakestra/root/store"
)

// noted is the accounts, with every write noted in holders.
type noted struct {
	Accounts
	holders *holders
}

// Users notes its writes.
func (n noted) Users() store.Users { return notedUsers{n.Accounts.Users(), n.holders} }

// Organizations notes its writes.
func (n noted) Organizations() store.Organizations {
	return notedOrganizations{n.Accounts.Organizations(), n.holders}
}

// Tokens notes its writes.
func (n noted) Tokens() store.Tokens { return notedTokens{n.Accounts.Tokens(), n.holders} }

type notedUsers struct {
	store.Users
	holders *holders
}

func (n notedUsers) Put(ctx context.Context, u store.User) error {
	defer n.holders.wrote()
	return n.Users.Put(ctx, u)
}

func (n notedUsers) Update(ctx context.Context, name string, f func(store.User) (store.User, error)) (store.User, error) {
	defer n.holders.wrote()
	return n.Users.Update(ctx, name, f)
}

func (n notedUsers) Delete(ctx context.Context, name string) error {
	defer n.holders.wrote()
	return n.Users.Delete(ctx, name)
}

type notedOrganizations struct {
	store.Organizations
	holders *holders
}

func (n notedOrganizations) Put(ctx context.Context, o store.Organization) error {
	defer n.holders.wrote()
	return n.Organizations.Put(ctx, o)
}

func (n notedOrganizations) Update(ctx context.Context, id string, f func(store.Organization) (store.Organization, error)) (store.Organization, error) {
	defer n.holders.wrote()
	return n.Organizations.Update(ctx, id, f)
}

func (n notedOrganizations) Delete(ctx context.Context, id string) error {
	defer n.holders.wrote()
	return n.Organizations.Delete(ctx, id)
}

type notedTokens struct {
	store.Tokens
	holders *holders
}

func (n notedTokens) Put(ctx context.Context, t store.Token) error {
	defer n.holders.wrote()
	return n.Tokens.Put(ctx, t)
}

func (n notedTokens) Update(ctx context.Context, id string, f func(store.Token) (store.Token, error)) (store.Token, error) {
	defer n.holders.wrote()
	return n.Tokens.Update(ctx, id, f)
}

func (n notedTokens) Delete(ctx context.Context, id string) error {
	defer n.holders.wrote()
	return n.Tokens.Delete(ctx, id)
}
