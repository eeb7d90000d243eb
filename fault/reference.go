package fault

import "bytes"

// Reference is what the engine knows of the state that the next checkpoint
// builds on. Trackers ask it during Collect and Highest, one question at a
// time.
//
// That state is the newest checkpoint that can not be lost any more by an
// error. While the fate of a captured checkpoint is open, there are two such
// states and no right answer to Same: the engine must know whether the last
// capture was committed or failed before it calls Collect again. The apply
// behind the commit may still be running.
type Reference interface {
	// Same reports whether content, one page, equals the page in that state.
	// It is asked only for pages below Pages, and must not keep content.
	Same(page int, content []byte) bool
	// Pages is the page count of that state. The pages above read as zero.
	Pages() int
	// Applied reports whether image.bin holds that state completely: every
	// page written and synced without an error (R11).
	Applied() bool
}

var zeroPage [PageSize]byte

// same extends Reference.Same to all pages of the arena: above the image a
// page is clean exactly if it is zero, which is what Open and Rollback leave
// there and what a growing image file holds.
func same(ref Reference, page int, content []byte) bool {
	if page >= ref.Pages() {
		return bytes.Equal(content, zeroPage[:])
	}
	return ref.Same(page, content)
}
