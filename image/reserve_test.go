package image_test

import (
	"context"
	"strings"
	"testing"

	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
)

// Pages by which the image grows without a line stay holes; a line that
// touches one allocates it, once.
func TestGrowthLeavesHoles(t *testing.T) {
	mem := memfs.New()
	log := oplog.New(mem, oplog.Options{Root: "/store"})
	s, err := openOn(log)
	if err != nil {
		t.Fatal(err)
	}
	m := model{size: 256}
	for i, c := range []struct {
		step
		want string
	}{
		{step{4, []int{0, 1, 2, 3}}, "alloc image.bin 0+1024"},
		{step{9, []int{1, 8}}, "alloc image.bin 2048+256"},
		{step{9, []int{5, 6, 8}}, "alloc image.bin 1280+512"},
		{step{9, []int{5, 6, 8}}, ""},
		{step{6, []int{5}}, ""},
		{step{9, []int{6}}, "alloc image.bin 1536+256"},
	} {
		log.Reset()
		if err := checkpoint(s, m.take(uint64(i+1), c.step)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			if strings.HasPrefix(line, "alloc image.bin ") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("checkpoint %d: %q, want %q", i+1, got, c.want)
		}
		checkHolds(t, s, m, uint64(i+1))
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
