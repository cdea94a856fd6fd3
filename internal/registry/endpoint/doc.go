// Package endpoint has where an image is requested: a repository at a registry, after registries.conf, and what registries were found to do.
package endpoint
