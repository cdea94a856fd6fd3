//go:build race

package registry_test

// memoryFactor is how much more memory everything takes with the race detector, which keeps a shadow of what is used.
const memoryFactor = 2
