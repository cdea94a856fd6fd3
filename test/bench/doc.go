// Command bench measures what Tagger promises and prints a table with a verdict per row. A count or a ratio that misses its
// bar makes it exit 1; an absolute time depends on the machine, so it is printed as passed or missed and nothing more.
//
//	bench [-short] [NAME...]
//
// runs the named benchmarks, or all of them. With -short they are small and have no bars.
package main
