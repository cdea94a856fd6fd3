// Package push receives push notifications from registries. A notification is a hint that an image may have changed: it makes a
// Tag check its source, and proves nothing.
package push
