package measure

import (
	"os"
	"slices"
)

// short is whether the benchmarks only have to show that they run. It is known before main, so that sizes can be variables of a
// package.
var short = slices.Contains(os.Args[1:], "-short")

// FullOrShort returns the first size, or the second one with -short.
func FullOrShort[T any](full, small T) T {
	if short {
		return small
	}
	return full
}
