package image

// reserved is a set of pages of which this process has allocated the blocks.
type reserved []uint64

func (r reserved) has(page, n int) bool {
	for p := page; p < page+n; p++ {
		if p>>6 >= len(r) || r[p>>6]&(1<<(p&63)) == 0 {
			return false
		}
	}
	return true
}

func (r *reserved) add(page, n int) {
	for len(*r) <= (page+n-1)>>6 {
		*r = append(*r, 0)
	}
	for p := page; p < page+n; p++ {
		(*r)[p>>6] |= 1 << (p & 63)
	}
}

// cut forgets the pages from pages on, which a shrink gives back.
func (r *reserved) cut(pages int) {
	if w := pages >> 6; w < len(*r) {
		(*r)[w] &= 1<<(pages&63) - 1
		*r = (*r)[:w+1]
	}
}
