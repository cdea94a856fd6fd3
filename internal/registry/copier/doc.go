// Package copier copies an image, and what is attached to it, from a source to the internal registry.
package copier
