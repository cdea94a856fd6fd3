// Package workload reconciles workloads: it rolls those whose Tag moved.
package workload
