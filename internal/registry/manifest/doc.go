// Package manifest parses manifests, indexes and lists of referrers, within limits. It does not send requests.
package manifest
