//go:build faults

package crash

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// randomPoints is how many processes end at random points, in all lanes together, and shares how many lanes there are.
const randomPoints, shares = 200, 4

// TestProcessesThatEndAtRandomPoints ends 200 leaders while 100 Tags move.
func TestProcessesThatEndAtRandomPoints(t *testing.T) {
	t.Parallel()
	for share := range shares {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			t.Parallel()
			random := newRandom(t)
			p := newPlane(t)
			first := p.shipped()
			m := p.newMover(random, "moving")
			h := p.watchHistory(m.namespace)
			stop := m.start()
			p.endAtRandom(random, first, randomPoints/shares)
			stop()
			m.settles(h)
		})
	}
}

// endAtRandom ends the first leader and then one leader after the other, each at a random point. There are always two
// managers, or a second one is starting. The last one stays.
func (p *plane) endAtRandom(random *rand.Rand, leader *manager, count int) {
	p.t.Helper()
	standby := p.ending(randomPoint(random))
	p.end(leader)
	leader, standby = standby, p.ending(randomPoint(random))
	for ended := 0; ended < count; {
		began := time.Now()
		gone := p.gone(leader, standby)
		if gone == leader {
			leader = standby
		}
		if signal := gone.State().Sys().(syscall.WaitStatus); signal.Signaled() && signal.Signal() == syscall.SIGKILL {
			ended++
			p.t.Logf("%d of %d ended at %s, after %s", ended, count, gone.point, time.Since(began).Round(time.Millisecond))
		} else {
			p.t.Logf("one more ended by itself: %v", gone.Exited())
		}
		p.end(gone)
		standby = p.ending(randomPoint(random))
	}
	p.shipped()
	p.end(leader)
	p.end(standby)
}

// gone waits until one of the managers has ended.
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
