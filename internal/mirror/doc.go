// Package mirror is the internal registry: where it is, and what Tagger copies to it and deletes from it.
package mirror
