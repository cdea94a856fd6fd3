//go:build faults

package crash

import (
	"testing"
	"time"

	"github.com/images-io/tagger/test/seed"
)

// kills is the number of times that bin/manager is killed; every fifth time both replicas are.
const kills = 20

// TestManagersKilled kills the shipped manager with SIGKILL, while the generations of 100 Tags change.
func TestManagersKilled(t *testing.T) {
	t.Parallel()
	random := seed.New(t)
	p := newPlane(t)
	managers := p.newPair()
	m := p.newMover(random, "moving")
	h := p.watchHistory(m.namespace)
	stop := m.start()
	for n := 1; n <= kills; n++ {
		managers = p.leads(managers.leader, managers.other)
		moment := time.Duration(random.IntN(1500)) * time.Millisecond
		<-time.After(moment)
		managers = p.kill(managers, n%5 == 0)
		t.Logf("kill %d of %d, %s after it was seen to lead, both: %v", n, kills, moment, n%5 == 0)
	}
	stop()
	m.settles(h, managers)
}

// kill kills the leader, or both, and starts replacements.
func (p *plane) kill(managers pair, both bool) pair {
	p.t.Helper()
	p.end(managers.leader)
	if both {
		p.end(managers.other)
		managers.other = p.shipped()
	}
	return pair{leader: managers.other, other: p.shipped()}
}
