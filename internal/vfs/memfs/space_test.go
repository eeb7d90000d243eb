package memfs

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func wantENOSPC(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%s: got %v, want ENOSPC", what, err)
	}
}

func wantUsed(t *testing.T, m *FS, chunks int64) {
	t.Helper()
	if got := m.Used() / chunkSize; got != chunks {
		t.Errorf("%d chunks are used, want %d", got, chunks)
	}
}

func TestFullDisk(t *testing.T) {
	m := New()
	m.SetCapacity(4*chunkSize + 100) // the rest of a chunk is of no use
	f := open(t, m, "f")
	page := strings.Repeat("x", chunkSize)

	n, err := f.WriteAt([]byte(strings.Repeat(page, 6)), chunkSize/2)
	wantENOSPC(t, "write", err)
	if n != 3*chunkSize+chunkSize/2 {
		t.Errorf("%d bytes were written, want all that fit", n)
	}
	if length, _, _ := f.Size(); length != 4*chunkSize {
		t.Errorf("length is %d after a short write", length)
	}
	wantUsed(t, m, 4)
	write(t, f, page, 0) // in place
	g := open(t, m, "g") // names are free
	_, err = g.WriteVec([][]byte{[]byte("a"), []byte("b")}, 0)
	wantENOSPC(t, "vectored write", err)
	must(t, g.Truncate(1<<30)) // and so are holes
	wantENOSPC(t, "allocate", g.Allocate(0, 1))
	wantENOSPC(t, "clone", open(t, m, "h").CloneFrom(f))

	must(t, f.Truncate(chunkSize))
	wantUsed(t, m, 1)
	must(t, m.Remove("f"))
	wantUsed(t, m, 1) // still open
	must(t, f.Close())
	wantUsed(t, m, 0)
	wantENOSPC(t, "allocate too much", g.Allocate(0, 5*chunkSize))
	wantUsed(t, m, 0) // nothing of it
	must(t, g.Allocate(0, 4*chunkSize))
}

func TestAllocatedBlocksNeverFail(t *testing.T) {
	m := New()
	m.SetCapacity(8 * chunkSize)
	f, g := open(t, m, "f"), open(t, m, "g")
	must(t, f.Allocate(chunkSize, 4*chunkSize))
	wantUsed(t, m, 4)
	must(t, f.Allocate(2*chunkSize, chunkSize)) // allocated already
	wantUsed(t, m, 4)
	_, err := g.WriteAt(make([]byte, 5*chunkSize), 0)
	wantENOSPC(t, "write beside a reservation", err)
	wantUsed(t, m, 8)

	must(t, f.Sync())
	must(t, m.SyncDir("."))
	for _, c := range []*FS{m, m.Clone(), m.CrashClone(Crash{Decide: DropAll})} {
		h := open(t, c, "f")
		write(t, h, strings.Repeat("y", 4*chunkSize), chunkSize)
		must(t, h.Sync())
		write(t, h, strings.Repeat("z", 4*chunkSize), chunkSize)
		if c == m {
			_, err := h.WriteAt([]byte("y"), 0)
			wantENOSPC(t, "write beside the reservation", err)
		}
	}
}

func TestAllocationNeedsSync(t *testing.T) {
	m, f := durable(t, "")
	must(t, f.Allocate(0, 3*chunkSize))
	var used []int64
	for decide := range All() {
		used = append(used, m.CrashClone(Crash{Decide: decide}).Used()/chunkSize)
	}
	if !slices.Equal(used, []int64{0, 3}) {
		t.Errorf("chunks allocated after a power cut are %d, want 0 and 3", used)
	}
}

func TestSpaceFollowsNames(t *testing.T) {
	m := New()
	write(t, open(t, m, "a"), "a", 0)
	b := open(t, m, "b")
	write(t, b, "b", 0)
	must(t, b.Close())
	wantUsed(t, m, 2)
	must(t, m.Rename("a", "b"))
	wantUsed(t, m, 1)
	must(t, m.Rename("b", "b"))
	must(t, m.Rename("b", "c"))
	wantUsed(t, m, 1)
	wantUsed(t, m.Clone(), 1)
}

func TestHugeOffsets(t *testing.T) {
	f := open(t, New(), "f")
	_, err := f.WriteAt([]byte("x"), 1<<62)
	for _, err := range []error{err, f.Truncate(1 << 62), f.Allocate(1<<62, 1), f.Allocate(1, 1<<62)} {
		if !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v, want EFBIG", err)
		}
	}
}

func TestFree(t *testing.T) {
	m := New()
	m.SetCapacity(4*chunkSize + 100)
	write(t, open(t, m, "f"), "x", 0)
	if free, err := m.Free("."); err != nil || free != 3*chunkSize {
		t.Errorf("%d bytes free, %v; want %d", free, err, 3*chunkSize)
	}
}
