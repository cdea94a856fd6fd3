// Package measure is what programs share that measure what Tagger promises: their main, the table that they print, and what
// a process has resident.
package measure
