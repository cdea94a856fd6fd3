// Package imageuse finds the images of a Tag that objects of its namespace use.
package imageuse
