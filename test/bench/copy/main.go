package main

import "github.com/images-io/tagger/test/bench/measure"

func main() {
	measure.Main(
		measure.Benchmark{Name: "latency", Run: latency},
		measure.Benchmark{Name: "throughput", Run: throughput},
		measure.Benchmark{Name: "again", Run: again},
		measure.Benchmark{Name: "shared", Run: shared},
		measure.Benchmark{Name: "stalled", Run: stalled},
	)
}
