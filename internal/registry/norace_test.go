//go:build !race

package registry_test

const memoryFactor = 1
