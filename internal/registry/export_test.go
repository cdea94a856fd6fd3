package registry

import (
	"net"
	"syscall"
	"time"
)

// Waiting is an option of limits that a test can wait for.
func Waiting(requests, header, stall time.Duration) func(*Options) {
	return func(options *Options) { options.limits = limits{requests: requests, header: header, stall: stall} }
}

// SlowAfter is an option of how long an answer may take before nobody waits for its host.
func SlowAfter(wait time.Duration) func(*Options) {
	return func(options *Options) { options.limits.slow = wait }
}

// Dialing is an option of who looks names up, and of what is asked last before a connection is made.
func Dialing(resolver *net.Resolver, control func(network, address string, connection syscall.RawConn) error) func(*Options) {
	return func(options *Options) { options.resolver, options.control = resolver, control }
}

// Defaults are the limits where a test sets none.
func Defaults() (requests, header, stall time.Duration) {
	limits := Options{}.complete().limits
	return limits.requests, limits.header, limits.stall
}

// Storing is an option of how long the mirror may take to store a blob.
func Storing(limit time.Duration) func(*Options) {
	return func(options *Options) { options.limits.stored = limit }
}

// CredentialsFor is how many credentials a keyring has for a repository.
func CredentialsFor(keys Keyring, host, repository string) int {
	return len(keys.matching(host, repository))
}
