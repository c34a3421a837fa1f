// Package sla turns a deployment descriptor (JSON, sla_version v2.0) into
// domain values. It lists every mistake with its JSON path, value and what
// would be right, so that a user mends them in one go; nothing half valid
// leaves this package. Pure. Caller: root/control.
//
// Keys that nothing here uses are ignored, as in the original: descriptors of
// other versions and tools carry plenty of them.
package sla
