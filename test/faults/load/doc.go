//go:build faults

// Package load fills tenants' namespaces with objects that the manager reads, and runs it with the memory limit that it ships
// with.
package load
