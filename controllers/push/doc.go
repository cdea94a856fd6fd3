// Package push makes Tags check their sources when push notifications name their images.
package push
