package main

import (
	"fmt"
	"time"

	"loomstore/bench/peer"
	"loomstore/loom"
)

// scrubKind is our store as it opens by default, with the scrub under way.
var scrubKind = peer.Kind{Name: "loom, scrub", Open: func(dir string, limit int) (peer.Store, error) {
	l, err := peer.OpenLoom(dir, &loom.Options{Size: int64(limit) * peer.PageSize, ScrubEvery: time.Millisecond})
	if err != nil {
		return nil, err
	}
	return scrubbed{l}, nil
}}

// scrubbed is a store whose own check is one whole round of its scrub.
type scrubbed struct{ *peer.Loom }

// Check implements peer.Checker.
func (s scrubbed) Check() error {
	m := s.Metrics()
	for begun := m.ScrubRounds + 1; m.ScrubRounds <= begun; m = s.Metrics() {
		time.Sleep(100 * time.Microsecond)
	}
	if m.ScrubDamaged > 0 {
		return fmt.Errorf("the scrub found %d damaged pages in %d rounds", m.ScrubDamaged, m.ScrubRounds)
	}
	return nil
}
