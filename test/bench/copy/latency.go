package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/images-io/tagger/test/bench/measure"
)

// small is an image of ten blobs of 1 MiB: for each platform four layers and a config.
var small = content{seeds: []uint64{1, 2, 3, 4}, layer: 1 << 20, config: 1 << 20}

// latency measures copies where every request takes long, so that the time is that of the requests which wait for one
// another.
func latency(ctx context.Context, rows *measure.Report) error {
	for _, delay := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond} {
		if err := latencyOf(ctx, rows, delay); err != nil {
			return err
		}
	}
	return nil
}

func latencyOf(ctx context.Context, rows *measure.Report, delay time.Duration) (err error) {
	s, err := openRelayedSite(ctx, delay)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	digest, err := s.publish(ctx, small)
	if err != nil {
		return err
	}
	tools := append(peers(), tagger, taggerAttachments)
	all, err := s.takeTurns(ctx, digest, tools...)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("2 platforms, 10 blobs of 1 MiB, %s a request: ", delay)
	for _, t := range tools {
		rows.Note(work+t.name, fmt.Sprintf("%s, %.0f requests", measure.Readable(all[t.name].median()), all[t.name].requests()))
	}
	rows.Count("  Tagger's time, of the best peer's", all[tagger.name].median().Seconds()/best(all, peers()).Seconds(), 0.55)
	rows.Count("  Tagger's requests", all[tagger.name].requests(), 38)
	looking, err := s.lookingCosts(ctx, digest)
	rows.Count("  more of them to look for signatures, once the registry is known", float64(looking), 3)
	return err
}
