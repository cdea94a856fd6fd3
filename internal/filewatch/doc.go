// Package filewatch reloads a file that the administrator may edit while the manager runs.
package filewatch
