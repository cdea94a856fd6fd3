//go:build faults

// Package load has tenants fill their namespaces with what the manager reads, and runs it with the memory that it ships with.
package load
