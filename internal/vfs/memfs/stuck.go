package memfs

// unit is what Renew renews as a whole: less than the 4096 bytes of a real
// block, because the pages of an explorer are smaller too.
const unit = 256

// stuck are the units of a file, by number, that were first written when a
// Sync failed. Under Crash.Journal they read as zero after a power cut, synced
// or not, until Renew or a truncation frees them: ext4 has lost track of the
// fact that their block counts as unwritten.
type stuck map[int64]bool

// add takes the units of [off, off+n) whose blocks were never written.
func (s *stuck) add(durable *content, off, n int64) {
	for u := off / unit; u*unit < off+n; u++ {
		chunk := int(u * unit / chunkSize)
		if chunk < len(durable.chunks) && durable.chunks[chunk] != nil && durable.chunks[chunk] != reserved {
			continue
		}
		if *s == nil {
			*s = stuck{}
		}
		(*s)[u] = true
	}
}

// free takes away the units [from, to).
func (s stuck) free(from, to int64) {
	for u := range s {
		if from <= u && u < to {
			delete(s, u)
		}
	}
}

// clear makes the units zero in c.
func (s stuck) clear(c *content) {
	var zero [unit]byte
	for u := range s {
		if u*unit < c.size {
			c.overwrite(zero[:], u*unit)
		}
	}
}
