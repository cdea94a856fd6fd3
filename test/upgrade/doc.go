// Package upgrade replaces one version of Tagger by another while Tags and workloads exist.
package upgrade
