package command

import (
	"errors"
	"sync"

	"loomstore/loom"
	"loomstore/patch"
)

// damageNotes tells of what the scrub of a run finds, each page once: it is
// found again in every round.
type damageNotes struct {
	out *output

	mu   sync.Mutex
	told map[int64]bool // pages
}

func (n *damageNotes) event(e loom.Event) {
	if e.Kind != loom.Damaged {
		return
	}
	page := int64(-1) // an error that names none, such as one of reading
	if d, ok := errors.AsType[*patch.Defect](e.Err); ok {
		page = d.Page
	}
	n.mu.Lock()
	known := n.told[page]
	n.told[page] = true
	n.mu.Unlock()
	if !known {
		n.out.note("scrub: %v\nhint: a backup may still be whole; loomctl verify lists all that is damaged", e.Err)
	}
}
