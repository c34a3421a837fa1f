// Package errs holds the error classes of the project. Code wraps one of them
// with context (fmt.Errorf("reserve address for %s: %w", id, err)) and the
// borders translate the class once: root/rest to an HTTP status, the link
// packages to a gRPC code. Nothing matches on error text.
package errs
