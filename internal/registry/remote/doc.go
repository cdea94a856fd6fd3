// Package remote has the requests of the distribution-spec: resolve, pull and push manifests and blobs, list referrers.
package remote
