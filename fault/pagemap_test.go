//go:build linux

package fault

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"loomstore/internal/mapping"
)

// TestPagemapEntries reads tables that were written by hand, with states that
// a test can not bring about: swapped out, migrating.
func TestPagemapEntries(t *testing.T) {
	const exclusive, softDirty = 1 << 56, 1 << 55
	for _, c := range []struct {
		name    string
		entry   uint64
		private bool
	}{
		{"never touched, or dropped", 0, false},
		{"soft dirty alone", softDirty, false},
		{"file page, read", pagePresent | pageFile, false},
		{"file page, exclusive", pagePresent | pageFile | exclusive, false},
		{"file page, migrating", pageSwapped | pageFile, false},
		{"stored", pagePresent | exclusive | softDirty, true},
		{"stored, swapped out", pageSwapped | 0x1234, true},
		{"zero page", pagePresent, true},
	} {
		entries := parts()
		// One kernel page of the second page, the first or the last, has the state.
		for _, at := range []int{entries, 2*entries - 1} {
			table := make([]byte, 3*entries*8)
			binary.LittleEndian.PutUint64(table[at*8:], c.entry)
			name := filepath.Join(t.TempDir(), "pagemap")
			if err := os.WriteFile(name, table, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			m := &pagemap{file: f, buf: make([]byte, pagemapChunk*entries*8)}
			got, err := m.chunk(nil, 0, 3)
			if err != nil || slices.Contains(got, 1) != c.private || len(got) > 1 {
				t.Errorf("%s: private pages %v, %v", c.name, got, err)
			}
			if _, err := m.chunk(nil, 0, 4); err == nil {
				t.Error("table cut short: no error")
			}
			if _, err := probe(f); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("tables of somebody else: %v", err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPagemapStates brings about the states that a test can, and reads the
// kernel's own tables.
func TestPagemapStates(t *testing.T) {
	e := newEngine(t, way{kind: Cow}, arenaPages, imagePages, false)
	m := e.tracker.(*comparer).private
	must := func(what string, p int, want uint64) {
		t.Helper()
		entry := make([]byte, 8)
		if _, err := m.file.ReadAt(entry, m.first+int64(p*parts())*8); err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint64(entry) & (pagePresent | pageSwapped | pageFile); got != want {
			t.Errorf("%s: bits %#x, want %#x", what, got>>61, want>>61)
		}
	}
	advise := func(p int, advice mapping.Advice) {
		t.Helper()
		if err := e.region.Advise(p*PageSize, PageSize, advice); err != nil {
			t.Fatal(err)
		}
	}
	protect := func(p int, prot mapping.Prot) {
		t.Helper()
		if err := e.region.Protect(p*PageSize, PageSize, prot); err != nil {
			t.Fatal(err)
		}
	}
	must("never touched", 20, 0)
	peek(&e.bytes(20)[0])
	must("read", 20, pagePresent|pageFile)
	protect(20, mapping.None)
	must("read, and closed", 20, pagePresent|pageFile)
	protect(20, mapping.ReadWrite)
	e.bytes(20)[0]++
	must("stored", 20, pagePresent)
	protect(20, mapping.None)
	must("stored, and closed", 20, pagePresent)
	protect(20, mapping.ReadWrite)
	advise(20, mapping.DontNeed)
	must("dropped", 20, 0)
	if _, err := e.image.ReadAt(e.bytes(20)[:8], 0); err != nil {
		t.Fatal(err)
	}
	must("stored by the kernel", 20, pagePresent)
	peek(&e.bytes(200)[0])
	must("page of zeros", 200, pagePresent)
}

// TestCowGivesMemoryBack: clean pages of the file mapping stop being private
// at the first Collect after their apply, and not before (R11); those above
// it never do.
func TestCowGivesMemoryBack(t *testing.T) {
	e := newEngine(t, way{kind: Cow}, arenaPages, imagePages, false)
	private := func() []int {
		t.Helper()
		var pages []int
		m := e.tracker.(*comparer).private
		if err := m.ascend(0, arenaPages, func(p int) { pages = append(pages, p) }); err != nil {
			t.Fatal(err)
		}
		return pages
	}
	e.store(3, 4, 9, 150)
	e.commit(e.collect(arenaPages), arenaPages)
	e.collect(arenaPages)
	if got := private(); !slices.Contains(got, 3) || !slices.Contains(got, 9) {
		t.Fatalf("dropped before the apply: %v", got)
	}
	e.apply()
	e.store(4)
	mustBe(t, "stored", e.collect(arenaPages), 4)
	if got := private(); slices.Contains(got, 3) || slices.Contains(got, 9) || !slices.Contains(got, 4) || !slices.Contains(got, 150) {
		t.Fatalf("private pages %v", got)
	}
}

// TestUnreadableImage: comparing runs into a page behind the image file's end.
func TestUnreadableImage(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		if w.shared {
			t.Skip("a shared arena does not read the image")
		}
		if os.Getenv(runnerEnv) != "" {
			t.Skip("not run: the emulator reports another address with SIGBUS")
		}
		e := newEngine(t, w, arenaPages, imagePages, false)
		if err := e.Unprotect(); err != nil {
			t.Fatal(err)
		}
		e.store(4, 140)
		e.Mark([]int{6})
		// The last page is a private copy that went away with its file page.
		e.store(99)
		if err := e.image.Truncate(99 * PageSize); err != nil {
			t.Fatal(err)
		}
		_, err := e.Collect(nil, arenaPages)
		switch {
		case w.kind == Compare && !errors.Is(err, mapping.ErrFault):
			t.Fatalf("collected beyond the end of the image: %v", err)
		case w.kind != Compare && err != nil:
			t.Fatal(err) // the page is gone without a sign, as the kernel has it
		}
		if err := e.image.Truncate(100 * PageSize); err != nil {
			t.Fatal(err)
		}
		if _, err := e.image.WriteAt(e.committed[99], 99*PageSize); err != nil {
			t.Fatal(err)
		}
		if w.kind == Compare {
			mustBe(t, "found after the repair", e.checkpoint(arenaPages), 4, 6, 140)
		} else {
			e.Mark([]int{4, 6, 140})
		}
	})
}
