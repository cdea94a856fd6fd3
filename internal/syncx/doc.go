// Package syncx has what golang.org/x/sync lacks here: a group of calls whose callers may give up.
package syncx
