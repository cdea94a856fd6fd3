// Package measure is shared by the programs that measure the promises of Tagger: their main, the table that they print, and the
// resident memory of a process.
package measure
