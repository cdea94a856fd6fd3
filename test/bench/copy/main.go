package main

import (
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/images-io/tagger/test/bench/measure"
)

func main() {
	log.SetLogger(logr.Discard()) // the table has the results
	measure.Main(
		measure.Benchmark{Name: "latency", Run: latency},
		measure.Benchmark{Name: "throughput", Run: throughput},
		measure.Benchmark{Name: "again", Run: again},
		measure.Benchmark{Name: "shared", Run: shared},
		measure.Benchmark{Name: "stalled", Run: stalled},
	)
}
