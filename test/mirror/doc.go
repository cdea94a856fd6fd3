// Package mirror copies images between real registries (distribution), as the manager does: with passwords and with tokens,
// over TLS with a private authority, and with deletion on or off.
package mirror
