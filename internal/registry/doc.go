// Package registry is the one place that talks to container registries. It resolves an image to its digest, and copies images
// to the internal registry.
//
// A Client reads registries.conf to learn where to ask, tries the credentials written for that place, and makes one HEAD
// with a token that it keeps. Whatever goes wrong comes back as an *regerr.Error, which knows the reason for the Tag's condition
// and whether trying again helps; nobody else needs to look at an HTTP status.
//
// The path of a request, from the outside in: Resolve (client.go: where to ask, and as whom), answers that are there already
// (answers.go) or a place to wait for one (places.go), sessions (who we are there: sessions.go, session.go), manifests (what we
// ask: manifest.go), and the layers round one transport (transport.go, layers.go). The innermost of them holds each host to
// its quota (meter.go; quota.go, breaker.go, budget.go).
//
// A copy (copy.go) reads all manifests of an image (source.go, tree.go, manifestbody.go), and then brings blobs and manifests
// to the mirror, each after what it names (delivery.go, upload.go, mirror.go), with what is attached to the image
// (attachments.go, referrers.go). It has sessions and connections of its own, and passes the same layers; where a registry takes
// anybody, its first request is the greeting (guess.go). What was put where is remembered, to be mounted (placements.go).
package registry
