// Package ledger stands before a registry and books what is sent to it, so that a test can tell whether a copy that was cut off
// sent anything twice, and whether what it left is whole.
package ledger
