// Package backstop tests what happens to workloads while the API server cannot reach Tagger's webhook, with the admission
// policy that stands behind it and without, and the life of that policy: who makes it, who takes it away.
package backstop
