package main

import (
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/images-io/tagger/test/bench/measure"
)

func main() {
	log.SetLogger(logr.Discard()) // the table has the results
	measure.Main(
		measure.Benchmark{Name: "requests", Run: requests},
		measure.Benchmark{Name: "admission", Run: admissions},
		measure.Benchmark{Name: "backstop", Run: measureBackstop},
		measure.Benchmark{Name: "scale", Run: scale},
		measure.Benchmark{Name: "push", Run: pushes},
	)
}
