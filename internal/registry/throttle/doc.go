// Package throttle decides whether a request may be sent to a host now: rate limits, and circuit breakers for hosts and namespaces.
package throttle
