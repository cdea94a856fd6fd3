// Package workqueue has the priorities and retries of the reconcilers' queues.
package workqueue
