// Package prune deletes the images of a Tag from the internal registry that nothing uses.
package prune
