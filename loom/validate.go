package loom

import (
	"bytes"
	"context"
	"fmt"
)

// validateBefore proves that every page below pages that is not in dirty, and
// not free, equals the last committed checkpoint.
func (l *Loom) validateBefore(dirty []int, pages int) error {
	ref := reference{l.store}
	for p := range pages {
		if len(dirty) > 0 && dirty[0] == p {
			dirty = dirty[1:]
			continue
		}
		if l.o.Free != nil && l.o.Free(p) {
			continue
		}
		if !ref.Same(p, l.page(p)) {
			return fmt.Errorf("page %d was stored to unseen since checkpoint %d: %w", p, l.store.State().Epoch, ErrValidation)
		}
	}
	return nil
}

// validateAfter proves that image.bin holds what the arena does, byte for
// byte.
func (l *Loom) validateAfter(ctx context.Context) error {
	if err := l.settleApply(ctx); err != nil {
		return fmt.Errorf("loom: %w", err)
	}
	saved := make([]byte, PageSize)
	st := l.store.State()
	for p := range st.Pages {
		if l.o.Free != nil && l.o.Free(p) {
			continue
		}
		if err := l.store.ReadPage(p, saved); err != nil {
			return fmt.Errorf("loom: validate: %w", err)
		}
		if !bytes.Equal(saved, l.page(p)) {
			return fmt.Errorf("loom: page %d changed during checkpoint %d: %w", p, st.Epoch, ErrValidation)
		}
	}
	return nil
}
