package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// Benchmark is one measurement. It adds rows to the report.
type Benchmark struct {
	Name string
	Run  func(ctx context.Context, rows *Report) error
}

// Main is the main of a program that measures: it runs the benchmarks that are named in the arguments, or all of them, in the
// given order.
func Main(benchmarks ...Benchmark) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	isFlag := func(argument string) bool { return argument == "-short" }
	err := run(ctx, benchmarks, slices.DeleteFunc(slices.Clone(os.Args[1:]), isFlag))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Progress prints the current step.
func Progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench:   "+format+"\n", args...)
}

// run returns an error if a required row misses its target.
func run(ctx context.Context, benchmarks []Benchmark, names []string) error {
	chosen, err := choose(benchmarks, names)
	if err != nil {
		return err
	}
	rows := &Report{}
	var problems []error
	for _, b := range chosen {
		fmt.Fprintln(os.Stderr, "bench:", b.Name)
		if err := b.Run(ctx, rows); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", b.Name, err))
		}
	}
	fmt.Printf("%s\n\n", machine())
	if short {
		fmt.Print("The short form shows that the benchmarks run. It does not do the work that the rows name.\n\n")
	}
	rows.print(os.Stdout)
	return errors.Join(append(problems, rows.verdict())...)
}

func choose(benchmarks []Benchmark, names []string) ([]Benchmark, error) {
	if len(names) == 0 {
		return benchmarks, nil
	}
	var chosen []Benchmark
	for _, name := range names {
		i := slices.IndexFunc(benchmarks, func(b Benchmark) bool { return b.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %q", name)
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, nil
}
