// Package hosttest holds every host.Host to one behaviour: what callers may
// rely on whether a kernel or a model is behind it. Packets are not its
// matter; netmanager/host/linux proves those in namespaces.
package hosttest
