// Package state has what the process knows about Tags that no object has: when registries were asked, and when maintenance is due.
package state
