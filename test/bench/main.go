package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// benchmark is one thing to measure. It adds rows to the report.
type benchmark struct {
	name string
	run  func(ctx context.Context, report *report) error
}

// benchmarks are all there are, in the order in which they run.
var benchmarks = []benchmark{
	{"requests", requests},
	{"admission", admissions},
	{"backstop", measureBackstop},
	{"scale", scale},
}

func main() {
	log.SetLogger(logr.Discard()) // what matters is in the table
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs the named benchmarks, or all of them, and fails where a row that must hold does not.
func run(ctx context.Context, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	rows := &report{}
	var problems []error
	for _, b := range chosen {
		fmt.Fprintln(os.Stderr, "bench:", b.name)
		if err := b.run(ctx, rows); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", b.name, err))
		}
	}
	fmt.Printf("%d cores, %s/%s, %s\n\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	rows.print(os.Stdout)
	return errors.Join(append(problems, rows.verdict())...)
}

func choose(names []string) ([]benchmark, error) {
	if len(names) == 0 {
		return benchmarks, nil
	}
	var chosen []benchmark
	for _, name := range names {
		i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %q", name)
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, nil
}
