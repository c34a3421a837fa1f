// Package nshost makes machines out of network namespaces for tests: named
// namespaces, links between them, Go code and programs inside them. Names
// begin with the process id, so that several test binaries run side by side
// and what a killed one left behind is swept by the next. It needs root and
// iproute2. It knows nothing of what the machines are for.
package nshost
