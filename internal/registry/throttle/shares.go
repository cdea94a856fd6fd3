package throttle

// shares is how much each asker has of what there is only so much of.
type shares struct {
	// most is how much all may have together, and mostOfOne how much one may. least is what one may have whatever all have.
	most, mostOfOne, least int

	all int
	of  map[string]int
}

func newShares(most, mostOfOne, least int) *shares {
	return &shares{most: most, mostOfOne: mostOfOne, least: least, of: map[string]int{}}
}

func (s *shares) hasRoom(namespace string) bool {
	own := s.of[namespace]
	return own < s.mostOfOne && (s.all < s.most || own < s.least)
}

func (s *shares) take(namespace string) {
	s.all++
	s.of[namespace]++
}

func (s *shares) give(namespace string) {
	s.all--
	if s.of[namespace]--; s.of[namespace] == 0 {
		delete(s.of, namespace)
	}
}
