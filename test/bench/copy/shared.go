package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/images-io/tagger/internal/transfer"
	"github.com/images-io/tagger/test/bench/measure"
)

// sharing are copies in their order, and the number of bytes of each that are new to the mirror's namespace.
var sharing = []struct {
	work, image string
	content     content
}{
	{"an image of 10 layers", "team/app:0", content{seeds: []uint64{1, 2, 3, 4, 5}, layer: 1 << 20}},
	{"its next generation, 80 % of the layers shared", "team/app:1", content{seeds: []uint64{1, 2, 3, 4, 6}, layer: 1 << 20}},
	{"another Tag of the namespace with the same base", "team/tools:0", content{seeds: []uint64{1, 2, 3, 4, 7}, layer: 1 << 20}},
}

// shared counts the uploaded bytes of images that share layers with images at the mirror.
func shared(ctx context.Context, rows *measure.Report) (err error) {
	s, err := openRelayedSite(ctx, 0)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	digests := make([]string, len(sharing))
	for i, one := range sharing {
		if digests[i], err = s.publish(ctx, one.content); err != nil {
			return err
		}
	}
	for _, t := range peers() {
		if err := s.sharedBy(ctx, rows, t, digests); err != nil {
			return err
		}
	}
	return s.sharedByTagger(ctx, rows, digests)
}

// sharedBy runs a peer for each copy.
func (s *site) sharedBy(ctx context.Context, rows *measure.Report, t tool, digests []string) error {
	if err := s.mirror.clear(); err != nil {
		return err
	}
	for i, one := range sharing {
		outcome, err := s.copy(ctx, t, digests[i], one.image)
		sent := "sent " + measure.Mebibytes(uint64(outcome.mirror.uploaded))
		if err != nil {
			sent = cannotCopy(err)
		}
		rows.Note(one.work+": "+t.name, sent)
	}
	return nil
}

// sharedByTagger uses one process for all copies, since it mounts blobs that it has copied.
func (s *site) sharedByTagger(ctx context.Context, rows *measure.Report, digests []string) (err error) {
	if err := s.mirror.clear(); err != nil {
		return err
	}
	process, err := startCopying(s.copier(ctx))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.end()) }()
	known := map[string]bool{}
	for i, one := range sharing {
		fresh, err := one.content.bytesBeside(known)
		if err != nil {
			return err
		}
		s.traffic()
		result, err := process.copy(s.from(digests[i]), s.to(one.image))
		if err != nil {
			return fmt.Errorf("%s: %w", tagger.name, err)
		}
		_, mirror := s.traffic()
		if err := s.check(ctx, one.image, digests[i]); err != nil {
			return err
		}
		rows.Note(one.work+": Tagger", fmt.Sprintf("sent %s, found %s, mounted %s", measure.Mebibytes(uint64(mirror.uploaded)),
			measure.Mebibytes(uint64(result.Skipped)), measure.Mebibytes(uint64(result.Mounted))))
		rows.Count("  bytes sent, of those of new blobs", float64(mirror.uploaded)/float64(fresh), 1)
	}
	return nil
}

// bytesBeside returns the number of bytes of the blobs that are not known yet, and marks them as known.
func (c content) bytesBeside(known map[string]bool) (bytes int64, err error) {
	index, err := c.index()
	if err != nil {
		return 0, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return 0, err
	}
	for _, platform := range manifest.Manifests {
		image, err := index.Image(platform.Digest)
		if err != nil {
			return 0, err
		}
		blobs, err := image.Manifest()
		if err != nil {
			return 0, err
		}
		for _, blob := range append(blobs.Layers, blobs.Config) {
			if digest := blob.Digest.String(); !known[digest] {
				known[digest] = true
				bytes += blob.Size
			}
		}
	}
	return bytes, nil
}

// copying is a process of Tagger's engine, for one request after the other.
type copying struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	results *json.Decoder
}

func startCopying(cmd *exec.Cmd) (*copying, error) {
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	results, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &copying{cmd, orders, json.NewDecoder(results)}, cmd.Start()
}

func (c *copying) copy(from, to string) (result transfer.CopyResult, err error) {
	if _, err := fmt.Fprintln(c.orders, from, to); err != nil {
		return result, err
	}
	return result, c.results.Decode(&result)
}

func (c *copying) end() error { return errors.Join(c.orders.Close(), c.cmd.Wait()) }
