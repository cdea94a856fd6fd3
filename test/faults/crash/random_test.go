//go:build faults

package crash

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/images-io/tagger/test/seed"
)

// randomPoints is the number of processes that exit at random points, in all lanes together, and shares the number of lanes.
const randomPoints, shares = 200, 4

// TestProcessesThatEndAtRandomPoints ends 200 leaders while the generations of 100 Tags change.
func TestProcessesThatEndAtRandomPoints(t *testing.T) {
	t.Parallel()
	for share := range shares {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			t.Parallel()
			random := seed.New(t)
			p := newPlane(t)
			managers := p.newPair()
			m := p.newMover(random, "moving")
			h := p.watchHistory(m.namespace)
			stop := m.start()
			managers = p.endAtRandom(random, managers, randomPoints/shares)
			stop()
			m.settles(h, managers)
		})
	}
}

// endAtRandom replaces the managers by others. Each exits at a random point of its time as leader, and is replaced. It returns
// the last two, which stay.
func (p *plane) endAtRandom(random *rand.Rand, shipped pair, count int) pair {
	p.t.Helper()
	a, b := p.ending(randomPoint(random)), p.ending(randomPoint(random))
	p.end(shipped.leader)
	p.end(shipped.other)
	for ended := 0; ended < count; {
		began := time.Now()
		if gone := p.gone(a, b); gone == a {
			a, b = b, a
		}
		if b.wasKilled() {
			ended++
			p.t.Logf("%d of %d ended at %s, after %s", ended, count, b.point, time.Since(began).Round(time.Millisecond))
		} else {
			p.t.Logf("one more ended by itself: %v", b.Exited())
		}
		p.end(b)
		b = p.ending(randomPoint(random))
	}
	last := p.newPair()
	p.end(a)
	p.end(b)
	return last
}

// gone waits until one of the managers has exited.
func (p *plane) gone(a, b *manager) *manager {
	p.t.Helper()
	select {
	case <-a.Ended():
		return a
	case <-b.Ended():
		return b
	case <-time.After(patience):
		p.t.Fatalf("neither of two leaders has ended within %s, at %s and %s", patience, a.point, b.point)
		return nil
	}
}
