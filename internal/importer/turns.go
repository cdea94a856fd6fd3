package importer

import "k8s.io/apimachinery/pkg/types"

// next returns the index of the job whose turn it is, or -1: imports before verifications, then of the registry that the fewest are copied
// from, then of the namespace that the fewest are copied for, the one that came first. Where all places are taken, or half of them by copies
// of one registry that stand still, a namespace that none is copied for has its turn even so: for one registry up to the limit, and up to the
// limit again in all unless more namespaces than the limit hold the places. So no namespace alone keeps another waiting.
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
		if tags[j.tag] {
			continue // one that was cancelled, and has not ended, may still write the same tag
		}
		if still[j.registry] >= c.limit {
			continue
		}
		if (isFull || moving >= c.limit || still[j.registry] >= max(c.limit/2, 1)) && namespaces[j.tag.Namespace] > 0 {
			continue
		}
		if best < 0 || before(j, c.waiting[best], registries, namespaces) {
			best = i
		}
	}
	return best
}

// before reports whether a job's turn is before that of another one, which came first. Users wait for imports.
func before(j, other *job, registries, namespaces map[string]int) bool {
	if j.verifies != other.verifies {
		return !j.verifies
	}
	byRegistry := registries[j.registry] - registries[other.registry]
	return byRegistry < 0 || byRegistry == 0 && namespaces[j.tag.Namespace] < namespaces[other.tag.Namespace]
}
