// Package apiaccess has how reconcilers use the API server: lists in pages, and writes that it refuses.
package apiaccess
