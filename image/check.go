package image

// CheckPage reads page as ReadPage does, for its hash alone, and may be called
// from any goroutine, beside everything but Close. buf has room for a page. A
// page that the last committed checkpoint does not have is not wrong.
//
// A commit waits for it: the hash that it compares with is then that of the
// page it has read.
func (s *Store) CheckPage(page int, buf []byte) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	if page >= s.Pages() {
		return nil
	}
	return s.ReadPage(page, buf)
}
