// Package ledger is a proxy before a registry that records uploads, so that a test can tell whether an interrupted copy sent
// anything twice, and whether its result is complete.
package ledger
