// Command copy measures copies of images by Tagger's engine beside those by other programs, and prints a table with a verdict
// for each row. It exits 1 if a count or a ratio misses its target. Sizes depend on the machine, so they are only printed as
// passed or missed.
//
//	copy [-short] [NAME...]
//
// runs the named benchmarks, or all of them. Every copy is a process of its own, from a registry to another one, and all
// programs alternate. The registries are distribution's. Copies that wait for responses most of the time are also measured with
// light registries, which do not use the same processors. The source keeps up to 5 GiB in the folder for temporary files; the
// mirror up to 4 GiB in memory if /dev/shm has the room, and beside the source otherwise. The command removes all of it.
package main
