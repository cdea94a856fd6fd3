package metrics_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/metrics"
	"github.com/images-io/tagger/internal/transfer"
)

// copier reads the metrics during a copy.
type copier struct {
	importer.Mirror
	during func()
}

func (c *copier) Copy(context.Context, importer.CopyRequest) (transfer.CopyResult, error) {
	c.during()
	return transfer.CopyResult{Uploaded: 1, Skipped: 20, Mounted: 300}, errors.New("cut off")
}

func TestMirror_CountsBytesByKind(t *testing.T) {
	next := &copier{}
	mirror := metrics.NewMirror(next)
	running := func(want string) {
		t.Helper()
		text := "# HELP tagger_mirror_copies_running Images that are being copied into the internal registry.\n# TYPE tagger_mirror_copies_running gauge\ntagger_mirror_copies_running " + want + "\n"
		if err := testutil.CollectAndCompare(mirror, strings.NewReader(text), "tagger_mirror_copies_running"); err != nil {
			t.Error(err)
		}
	}
	next.during = func() { running("1") }
	for range 2 {
		if _, err := mirror.Copy(t.Context(), importer.CopyRequest{}); err == nil {
			t.Error("the error is lost")
		}
	}
	running("0")
	want := `# HELP tagger_mirror_bytes_total Bytes of the blobs of images that were mirrored. Labeled by kind: copied, skipped since they were there, mounted from another repository of the namespace.
# TYPE tagger_mirror_bytes_total counter
tagger_mirror_bytes_total{kind="copied"} 2
tagger_mirror_bytes_total{kind="mounted"} 600
tagger_mirror_bytes_total{kind="skipped"} 40
`
	if err := testutil.CollectAndCompare(mirror, strings.NewReader(want), "tagger_mirror_bytes_total"); err != nil {
		t.Error(err)
	}
}
