// Package backstop tests workloads while the API server cannot reach Tagger's webhook, with and without the admission policy
// for that time, and the life of that policy: its creation and its deletion.
package backstop
