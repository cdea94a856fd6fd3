package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/images-io/tagger/test/bench/measure"
)

// small is an image of ten blobs of 1 MiB: for each platform four layers and a config.
var small = content{seeds: []uint64{1, 2, 3, 4}, layer: measure.FullOrShort[int64](1<<20, 1<<14), config: measure.FullOrShort(1<<20, 1<<14)}

// work is the repository of the copies.
type work struct {
	delay time.Duration
	open  func(context.Context, time.Duration) (*site, error)
	// registries names the registries.
	registries string
	// bar is the largest allowed ratio to the best peer's time. The shorter the delay, the more do the two pings and the HEAD of the
	// tag count.
	bar float64
	// processors is the number of processors below which the row has no target: the registries' work would determine the time.
	processors int
}

// latency measures copies with delayed requests, so that the time is that of the requests that wait for one another.
func latency(ctx context.Context, rows *measure.Report) error {
	for _, w := range []work{
		{20 * time.Millisecond, openLightSite, "light registries", 0.6, 1},
		{50 * time.Millisecond, openLightSite, "light registries", 0.55, 1},
		{20 * time.Millisecond, openRelayedSite, "distribution", 0.6, 4},
		{50 * time.Millisecond, openRelayedSite, "distribution", 0.55, 1},
	} {
		if err := latencyOf(ctx, rows, w); err != nil {
			return err
		}
	}
	return nil
}

func latencyOf(ctx context.Context, rows *measure.Report, w work) (err error) {
	s, err := w.open(ctx, w.delay)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	digest, err := s.publish(ctx, small)
	if err != nil {
		return err
	}
	all, err := s.takeTurns(ctx, roundsOfSmall, digest, append(peers(), tagger, taggerAttachments)...)
	if err != nil {
		return err
	}
	w.report(rows, all)
	looking, err := s.lookingCosts(ctx, digest)
	rows.Count("  more of them to look for signatures, once the registry is known", float64(looking), 3)
	return err
}

func (w work) report(rows *measure.Report, all map[string]outcomes) {
	for _, t := range append(peers(), tagger, taggerAttachments) {
		what := fmt.Sprintf("2 platforms, 10 blobs of 1 MiB, %s a request, %s: %s", w.delay, w.registries, t.name)
		rows.Note(what, all[t.name].text(func(o outcomes) string {
			return fmt.Sprintf("%s, %.0f requests", measure.Readable(o.median()), o.requests())
		}))
	}
	ratio := all[tagger.name].median().Seconds() / best(all, peers()).Seconds()
	if runtime.NumCPU() >= w.processors {
		rows.Count("  Tagger's time, of the best peer's", ratio, w.bar)
	} else {
		rows.Note("  Tagger's time, of the best peer's", fmt.Sprintf("%.4g", ratio))
	}
	rows.Count("  Tagger's requests", all[tagger.name].requests(), 42)
}
