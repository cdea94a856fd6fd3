// Package auth logs in to registries: challenges, token services, and the tokens that are kept.
package auth
