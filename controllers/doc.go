// Package controllers holds the reconcilers: of Tags, which imports and moves them, and of workloads, which rolls
// what follows them.
package controllers
