// Package transport sends requests to hosts that may be registries, and bounds what they send: TLS, proxies, redirects, sizes and times.
package transport
