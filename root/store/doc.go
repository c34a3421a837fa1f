// Package store holds the interfaces of the root's state, one per aggregate.
// Backends (boltstore, later mongostore) implement them and run
// storetest.Run. A method that returns has made its change durable: every
// acknowledged write survives a kill -9.
//
// Values go in and out; nothing handed out is shared with the backend.
// Update functions may run more than once and must be pure.
package store
