package mirror_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/ledger"
	"github.com/images-io/tagger/test/seed"
)

const (
	// cuts is the number of interruptions, and cutsPerCopy the largest number for one copy.
	cuts        = 200
	cutsPerCopy = 4
)

// behindADoor is a registry that clients reach through a ledger only.
func behindADoor(t *testing.T, s *side) (*side, *ledger.Ledger) {
	t.Helper()
	door := ledger.Open(s.Address, 0)
	t.Cleanup(door.Close)
	return &side{Registry: &cluster.Registry{Address: door.Address}, options: s.options, login: s.login, plain: true}, door
}

// TestCopiesCutOffAtRandomSteps ends the process of a copy at random steps. The next one does not send again what arrived, and
// the tag does not exist before the whole image does.
func TestCopiesCutOffAtRandomSteps(t *testing.T) {
	random, source := seed.New(t), start(t, "")
	mirror, door := behindADoor(t, start(t, ""))
	_, digest := pushed(t, source, "latest")

	run := func(tag string, steps int64) (took int64, err error) {
		l, ctx := newLife(t.Context(), steps)
		defer l.end()
		client := newClient(t, source, mirror, func(o *registry.Options) { o.Around = l.wire })
		_, err = client.Copy(ctx, order(t, source, mirror, digest, tag, "0"))
		return steps - l.left.Load(), err
	}
	whole, err := run("whole", math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a copy has %d steps", whole)
	for cut, tag := 0, ""; cut < cuts; cut++ {
		if cut%cutsPerCopy == 0 {
			tag = fmt.Sprint("app-", cut)
		}
		steps := random.Int64N(whole)
		if cut%cutsPerCopy > 0 {
			steps /= 2 // since less is left
		}
		_, failure := run(tag, steps)
		isThere, err := ledger.PullIfThere(mirror.tag(t, "cache/shop/"+tag, "0"), digest, mirror.options...)
		if err != nil {
			t.Fatalf("cut off after %d steps: %v", steps, err)
		}
		if failure == nil && !isThere {
			t.Fatalf("after %d steps it said that it is done, and nothing is there", steps)
		}
		if cut%cutsPerCopy == cutsPerCopy-1 {
			if _, err := run(tag, math.MaxInt64); err != nil {
				t.Fatalf("after %d steps, and then to its end: %v", steps, err)
			}
			pulled(t, mirror, "cache/shop/"+tag, "0", digest)
		}
	}
	t.Logf("%d requests to the mirror", door.Requests())
	if err := door.Check(); err != nil {
		t.Error(err)
	}
}
