// Package upgrade replaces one version of Tagger by another where Tags and workloads are stored.
package upgrade
