// Package auth knows who is asking: passwords (argon2id), access and refresh
// tokens (JWT, HS256), login throttling and where from the default password
// may be used. It stores nothing but users, through store.Users; the signing
// key is given to it and kept on disk by its caller (LoadKey).
//
// Callers: root/rest for every request, cmd/system-manager to build it.
package auth
