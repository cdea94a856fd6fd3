// Package workloadkind lists the kinds of workloads that follow Tags.
package workloadkind
