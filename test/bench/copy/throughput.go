package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/images-io/tagger/test/bench/measure"
)

const (
	// mostMemory is the allowed resident memory of a copy, whatever the size of the image.
	mostMemory = 64 << 20
	// mostGrowth is the allowed factor of that for an image four times as large; garbage collection causes a difference.
	mostGrowth = 1.25
)

// gibibyte is the smaller image's size in bytes. The larger one has four times that.
var gibibyte = measure.FullOrShort[int64](1<<30, 1<<23)

// sized is an image of so many bytes, in four layers for each of the two platforms.
func sized(bytes int64) content { return content{seeds: []uint64{1, 2, 3, 4}, layer: bytes / 8} }

// throughput measures copies without a delay.
func throughput(ctx context.Context, rows *measure.Report) error {
	return errors.Join(throughputOver(ctx, rows, "plain", false), throughputOver(ctx, rows, "TLS", true))
}

func throughputOver(ctx context.Context, rows *measure.Report, protocol string, withTLS bool) (err error) {
	s, err := openSite(ctx, withTLS)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	measure.Progress("1 GiB, %s", protocol)
	digest, err := s.publish(ctx, sized(gibibyte))
	if err != nil {
		return err
	}
	tools := append(peers(), tagger)
	all, err := s.takeTurns(ctx, rounds, digest, tools...)
	if err != nil {
		return err
	}
	for _, t := range tools {
		rows.Note(fmt.Sprintf("1 GiB over loopback, %s: %s", protocol, t.name), all[t.name].text(func(o outcomes) string {
			return fmt.Sprintf("%s, %.0f MiB/s, %s of its own processor time, %s resident", measure.Readable(o.median()),
				float64(gibibyte>>20)/o.median().Seconds(), measure.Readable(o.cpu()), measure.Mebibytes(o.peak()))
		}))
	}
	rows.AtLeast("  Tagger's throughput, of the best peer's", best(all, peers()).Seconds()/all[tagger.name].median().Seconds(), 0.90)
	rows.Size("  resident memory of Tagger", all[tagger.name].peak(), mostMemory)
	return s.large(ctx, rows, all[tagger.name].peak())
}

// large measures the memory of an image of 4 GiB, beside that of one of 1 GiB. It is the last use of the site.
func (s *site) large(ctx context.Context, rows *measure.Report, ofOne uint64) error {
	measure.Progress("4 GiB")
	if err := errors.Join(s.source.clear(), s.mirror.clear()); err != nil {
		return err
	}
	digest, err := s.publish(ctx, sized(4*gibibyte))
	if err != nil {
		return err
	}
	all, err := s.takeTurns(ctx, rounds, digest, tagger)
	if err != nil {
		return err
	}
	four := all[tagger.name]
	rows.Size(fmt.Sprintf("  with 4 GiB, in %s", measure.Readable(four.median())), four.peak(), mostMemory)
	rows.Count("  of the memory that 1 GiB takes", float64(four.peak())/float64(ofOne), mostGrowth)
	return nil
}
