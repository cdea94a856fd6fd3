// Package mirror copies images between real registries (distribution), as the manager does: with passwords and with tokens, by
// TLS of a private authority, and where deletion is on or off.
package mirror
