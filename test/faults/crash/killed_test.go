//go:build faults

package crash

import (
	"math/rand/v2"
	"testing"
	"time"
)

// kills is how many times bin/manager is killed; every fifth time both of two are, so that nobody is there.
const kills = 20

// TestManagersKilled kills the shipped manager, from outside and without a warning, while 100 Tags move.
func TestManagersKilled(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	p := newPlane(t)
	managers := []*manager{p.shipped(), p.shipped()}
	m := p.newMover(random, "moving")
	h := p.watchHistory(m.namespace)
	stop := m.start()
	for n := 1; n <= kills; n++ {
		managers = p.kill(random, n, managers)
	}
	stop()
	m.settles(h)
}

// kill kills the leader somewhere in its first moments, every fifth time the other one too, and replaces what is gone.
func (p *plane) kill(random *rand.Rand, n int, managers []*manager) []*manager {
	p.t.Helper()
	leader := p.leader(managers...)
	other := managers[0]
	if other == leader {
		other = managers[1]
	}
	moment := time.Duration(random.IntN(1500)) * time.Millisecond
	<-time.After(moment)
	p.end(leader)
	if n%5 == 0 {
		p.end(other)
		other = p.shipped()
	}
	p.t.Logf("kill %d of %d, %s after it was seen to lead, both: %v", n, kills, moment, n%5 == 0)
	return []*manager{other, p.shipped()}
}
