package image_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// Checks run beside commits and applies that grow and shrink the image, and
// find nothing where nothing is wrong.
func TestCheckPageBesideCheckpoints(t *testing.T) {
	ctx, g := context.Background(), patch.Geometry{PageSize: 256}
	s, _, err := image.Open(ctx, t.TempDir(), &image.Options{Create: true, Geometry: g})
	if err != nil {
		t.Fatal(err)
	}
	done, checked := make(chan struct{}), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, g.PageSize)
		for {
			for p := range 12 {
				if err := s.CheckPage(p, buf); err != nil {
					t.Errorf("page %d: %v", p, err)
					return
				}
				checked++
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	m := model{size: g.PageSize}
	for epoch := range uint64(300) {
		if err := checkpoint(s, m.take(epoch+1, workload[epoch%uint64(len(workload))])); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
	t.Logf("%d pages checked beside 300 checkpoints", checked)
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestCheckPageNamesTheDamage(t *testing.T) {
	s, _, err := image.Open(context.Background(), "/store", deterministic(memfs.New(), 256))
	if err != nil {
		t.Fatal(err)
	}
	held := model{size: 256}
	if err := checkpoint(s, held.take(1, step{4, []int{0, 1, 2, 3}})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Image().WriteAt([]byte{1}, 2*256+7); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	for p := range 6 { // two more than there are
		err := s.CheckPage(p, buf)
		d, damaged := errors.AsType[*patch.Defect](err)
		if damaged != (p == 2) || damaged && (d.Page != 2 || d.Offset != 512 || !errors.Is(err, patch.ErrDamaged)) {
			t.Errorf("page %d: %v", p, err)
		}
	}
	if err := s.Image().Truncate(3*256 + 1); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckPage(3, buf); !errors.Is(err, patch.ErrDamaged) {
		t.Errorf("a page that is cut off: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
