// Command copy measures copies of images by Tagger's engine beside those by other programs, and prints a table with a verdict
// per row. A count or a ratio that misses its bar makes it exit 1; sizes depend on the machine, so they are printed as passed
// or missed and nothing more.
//
//	copy [-short] [NAME...]
//
// runs the named benchmarks, or all of them. With -short they are small and have no bars. Every copy is a process of its own, from a registry to another one, and all
// programs take turns. The registries are distribution's, but for some copies that wait for answers most of the time: those
// are measured with light ones, too, which do not work on the same processors. The source keeps up to 5 GiB in the folder for temporary files; the mirror up
// to 4 GiB in memory where there is room in /dev/shm, and beside the source otherwise. Nothing stays.
package main
