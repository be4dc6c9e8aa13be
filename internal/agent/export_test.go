package agent

// Remembered returns of how many addresses it is known that others were heard to use them, and of how many claims, that successors were.
func (s *Services) Remembered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.foreign) + len(s.disputes) + len(s.passed)
}
