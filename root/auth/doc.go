// Package auth knows who is asking and who may become whom: passwords
// (argon2id), logins (JWT, HS256, with refresh tokens that rotate), API tokens,
// the accounts, their organizations and roles, forgotten passwords, and the
// limits of guessing. What was weighed is in docs/design/security.md.
//
// It keeps users, organizations and hashes of tokens in the store and looks at
// applications only to see whether somebody owns some; the signing key is
// given to it and kept on disk by its caller (LoadKey). Which role a route
// needs is not decided here but in the table of root/rest. Changes of accounts
// run one at a time, so that an Admin is always left.
//
// Callers: root/rest for every request, root to run it.
package auth
