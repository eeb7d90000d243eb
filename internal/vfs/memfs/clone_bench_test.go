package memfs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// benchStore is about what an explorer clones: four small files, one page
// written and not synced. size is of the largest file.
func benchStore(b *testing.B, size int) *FS {
	m := New()
	for _, name := range []string{"control.bin", "memory.bin", "sums.bin", "image.bin"} {
		f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		for off := 0; off < size; off += chunkSize {
			f.WriteAt(make([]byte, min(size, chunkSize)), int64(off))
		}
		f.Sync()
	}
	m.SyncDir(".")
	f, err := m.OpenFile("image.bin", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	f.WriteAt(make([]byte, 4*SectorSize), 0)
	return m
}

func BenchmarkClone(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		m := benchStore(b, size)
		rng := rand.New(rand.NewPCG(1, 2))
		b.Run(fmt.Sprintf("kill/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Clone()
			}
		})
		b.Run(fmt.Sprintf("cut/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.CrashClone(Crash{Decide: Random(rng, Even)})
			}
		})
		// The floor of a file system that copies.
		from, to := make([]byte, 4*size), make([]byte, 4*size)
		b.Run(fmt.Sprintf("copy/%d", size), func(b *testing.B) {
			for b.Loop() {
				copy(to, from)
			}
		})
	}
}
