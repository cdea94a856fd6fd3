// Package registry is the one place that talks to container registries. So far it resolves an image to its digest.
//
// A Client reads registries.conf to learn where to ask, tries the credentials written for that place, and makes one HEAD
// with a token that it keeps. Whatever goes wrong comes back as an *Error, which knows the reason for the Tag's condition
// and whether trying again helps; nobody else needs to look at an HTTP status.
//
// The path of a request, from the outside in: Resolve (client.go: where to ask, and as whom), answers that are there already
// (answers.go) or a place to wait for one (places.go), sessions (who we are there: sessions.go, session.go), manifests (what we
// ask: manifest.go), and the layers round one transport (transport.go, layers.go). The innermost of them holds each host to
// its quota (meter.go; quota.go, breaker.go, budget.go).
package registry
