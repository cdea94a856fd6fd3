package importer

import "k8s.io/apimachinery/pkg/types"

// next is the index of the job whose turn it is, or -1: of the registry that the fewest are copied from, and then of the namespace
// that the fewest are copied for, the one that came first. Where all places are taken, a namespace that none is copied for has its turn
// even so, unless more namespaces than the limit hold them: at most the limit again, and no namespace alone keeps another waiting.
func (c *Copies) next() int {
	now := c.clock.Now()
	moving, still := 0, map[string]int{}
	registries, namespaces, tags := map[string]int{}, map[string]int{}, map[types.NamespacedName]bool{}
	for j := range c.running {
		tags[j.tag] = true
		registries[j.registry]++
		namespaces[j.tag.Namespace]++
		if now.Sub(j.moved) < standsStill {
			moving++
		} else {
			still[j.registry]++
		}
	}
	isFull := len(c.running) >= 2*c.limit
	if isFull && len(namespaces) > c.limit {
		return -1
	}
	best := -1
	for i, j := range c.waiting {
		if tags[j.tag] || still[j.registry] >= max(c.limit/2, 1) {
			continue // one that was cancelled, and has not ended, may still write the same tag
		}
		if (isFull || moving >= c.limit) && namespaces[j.tag.Namespace] > 0 {
			continue
		}
		if best < 0 || before(registries[j.registry], registries[c.waiting[best].registry], namespaces[j.tag.Namespace], namespaces[c.waiting[best].tag.Namespace]) {
			best = i
		}
	}
	return best
}

func before(a, b, thenA, thenB int) bool { return a < b || a == b && thenA < thenB }
