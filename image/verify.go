package image

import (
	"context"
	"fmt"
	"sync"

	"loomstore/internal/checksum"
	"loomstore/patch"
)

// verifyAll compares every page of the applied image with its hash, and all
// hashes with the digest of the last checkpoint (Options.Full).
func (s *Store) verifyAll(ctx context.Context) error {
	var mu sync.Mutex
	var digest patch.Digest
	err := s.o.scanner().hash(ctx, s.image, s.cur.Load().NewPages, func(page int, content []byte) error {
		want, err := s.table.get(page)
		if err != nil {
			return err
		}
		if got := checksum.Sum64(content); got != want {
			return pageDefect(page, int64(page)*int64(s.o.Geometry.PageSize), want, got)
		}
		mu.Lock()
		digest = digest.Add(page, want)
		mu.Unlock()
		return nil
	})
	if err == nil && digest != s.cur.Load().NewDigest {
		err = &patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: tableOffset,
			Want: s.cur.Load().NewDigest.String(), Got: digest.String(), Reason: "digest of the table"}
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", s.dir, err)
	}
	return nil
}
