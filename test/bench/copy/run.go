package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/images-io/tagger/test/bench/measure"
)

// rounds is how often everything is measured, and roundsOfSmall how often what takes less than a second, of which more is noise.
var rounds, roundsOfSmall = measure.FullOrShort(5, 1), measure.FullOrShort(11, 1)

// sampling is how often a process is asked for the most memory that it had. What it takes later than that is missed.
const sampling = 20 * time.Millisecond

// outcome is the result of one copy.
type outcome struct {
	took time.Duration
	// cpu is the processor time of the program alone.
	cpu time.Duration
	// peak is the highest resident memory, in bytes.
	peak uint64
	// source and mirror are the traffic of the relays, if there are any.
	source, mirror traffic
}

func (o outcome) requests() int { return len(o.source.methods) + len(o.mirror.methods) }

// outcomes are those of a tool, or why it could not copy.
type outcomes struct {
	copies []outcome
	failed error
}

// text describes the outcomes, or says why there are none.
func (o outcomes) text(describe func(outcomes) string) string {
	if o.failed != nil {
		return cannotCopy(o.failed)
	}
	return describe(o)
}

// cannotCopy is the row of a peer that fails. The last line of its output is the error.
func cannotCopy(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return fmt.Sprintf("cannot copy this: %.200s", lines[len(lines)-1])
}

// most returns the largest number of all.
func (o outcomes) most(of func(outcome) float64) float64 {
	most := 0.0
	for _, one := range o.copies {
		most = max(most, of(one))
	}
	return most
}

// median returns the median of the times.
func (o outcomes) median() time.Duration {
	return o.medianOf(func(o outcome) time.Duration { return o.took })
}

func (o outcomes) medianOf(of func(outcome) time.Duration) time.Duration {
	times := make([]time.Duration, len(o.copies))
	for i, one := range o.copies {
		times[i] = of(one)
	}
	return median(times)
}

func median(times []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(times))[len(times)/2]
}

func (o outcomes) requests() float64 {
	return o.most(func(o outcome) float64 { return float64(o.requests()) })
}
func (o outcomes) cpu() time.Duration {
	return o.medianOf(func(o outcome) time.Duration { return o.cpu })
}
func (o outcomes) peak() uint64 {
	return uint64(o.most(func(o outcome) float64 { return float64(o.peak) }))
}

// best returns the fastest median of the tools.
func best(of map[string]outcomes, tools []tool) time.Duration {
	fastest := time.Duration(math.MaxInt64)
	for _, t := range tools {
		if of[t.name].failed == nil {
			fastest = min(fastest, of[t.name].median())
		}
	}
	return fastest
}

// copied is the destination of all images that are measured alone: namespace, Tag and generation.
const copied = "team/app:0"

// takeTurns runs all tools on an empty mirror, one after the other, in every round starting with another one.
func (s *site) takeTurns(ctx context.Context, rounds int, digest string, tools ...tool) (map[string]outcomes, error) {
	all := map[string]outcomes{}
	for round := range rounds {
		for i := range tools {
			t := tools[(round+i)%len(tools)]
			before := all[t.name]
			if before.failed != nil {
				continue
			}
			if err := s.mirror.clear(); err != nil {
				return nil, err
			}
			one, err := s.copy(ctx, t, digest, copied)
			if err != nil && !t.isPeer {
				return nil, err
			}
			all[t.name] = outcomes{append(before.copies, one), err}
		}
	}
	return all, nil
}

// copy runs the tool, and verifies the result.
func (s *site) copy(ctx context.Context, t tool, digest, image string) (outcome, error) {
	s.traffic()
	var said bytes.Buffer
	cmd := t.command(ctx, s, s.from(digest), s.to(image))
	cmd.Stdout, cmd.Stderr = &said, &said
	runtime.GC() // garbage of the last check is not collected during this measurement
	one, err := timed(cmd)
	if err != nil {
		return outcome{}, fmt.Errorf("%s: %w: %s", t.name, err, said.Bytes())
	}
	one.source, one.mirror = s.traffic()
	if err := s.check(ctx, image, digest); err != nil {
		return outcome{}, fmt.Errorf("after %s has copied: %w", t.name, err)
	}
	return one, nil
}

// traffic returns the traffic of the relays since its last call.
func (s *site) traffic() (source, mirror traffic) {
	if len(s.source.relays) == 0 {
		return traffic{}, traffic{}
	}
	return s.source.relays[0].take(), s.mirror.relays[0].take()
}

// timed runs a process until it exits.
func timed(cmd *exec.Cmd) (one outcome, err error) {
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(sampling)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			one.took = time.Since(start)
			one.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			return one, err
		case <-ticker.C:
			if _, peak, err := measure.Memory(cmd.Process.Pid); err == nil { // it may have exited
				one.peak = max(one.peak, peak)
			}
		}
	}
}
