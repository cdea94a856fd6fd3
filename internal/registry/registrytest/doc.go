// Package registrytest has registries in the process for tests: with TLS, a log of requests and a guard, behind a proxy, and with faults.
package registrytest
