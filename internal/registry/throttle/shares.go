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

func (s *shares) hasRoom(asker string) bool {
	own := s.of[asker]
	return own < s.mostOfOne && (s.all < s.most || own < s.least)
}

func (s *shares) take(asker string) {
	s.all++
	s.of[asker]++
}

func (s *shares) give(asker string) {
	s.all--
	if s.of[asker]--; s.of[asker] == 0 {
		delete(s.of, asker)
	}
}
