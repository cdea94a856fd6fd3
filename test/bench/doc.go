// Command bench measures the promises of Tagger and prints a table with a verdict for each row. It exits 1 if a count or a
// ratio misses its target; an absolute time depends on the machine, so it is only printed as passed or missed.
//
//	bench [-short] [NAME...]
//
// runs the named benchmarks, or all of them. With -short they are small and have no bars.
package main
