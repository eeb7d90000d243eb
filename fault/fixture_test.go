//go:build linux

package fault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// runnerEnv may name a program that runs children of this test, where the system can not
// run this test binary by itself: an emulator.
const runnerEnv = "LOOMSTORE_TEST_RUNNER"

// way is a tracker in one of the two kinds of arena.
type way struct {
	kind   Kind
	shared bool
}

func (w way) String() string {
	if w.shared {
		return string(w.kind) + "-shared"
	}
	return string(w.kind)
}

var ways = []way{{Uffd, false}, {Uffd, true}, {Mprotect, false}, {Mprotect, true}, {Cow, false}, {Compare, false}, {Compare, true}}

// forEachWay runs a test for all trackers that this system has.
func forEachWay(t *testing.T, f func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) { f(t, w) })
	}
}

// engine stands in for the engine: an image file, an arena over it, and the
// state of the last committed checkpoint.
type engine struct {
	*Arena
	t         testing.TB
	way       way
	region    *mapping.Region
	mem       []byte
	image     *os.File
	committed map[int][]byte // a page that is missing is zero
	pages     int            // of the committed image
	pending   []int          // committed and not applied
	page      []byte
}

func (e *engine) Same(page int, content []byte) bool {
	if want, ok := e.committed[page]; ok {
		return bytes.Equal(content, want)
	}
	return bytes.Equal(content, zeroPage[:])
}

func (e *engine) Pages() int    { return e.pages }
func (e *engine) Applied() bool { return len(e.pending) == 0 }

// newEngine opens an arena of n pages over an image of imagePages pages, no two
// words of which are the same.
func newEngine(t testing.TB, w way, n, imagePages int, guarded bool) *engine {
	t.Helper()
	e, err := buildEngine(t.TempDir(), w, n, imagePages, guarded)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("not run here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	e.t = t
	t.Cleanup(func() {
		e.mustMatch(n)
		e.close()
	})
	return e
}

func buildEngine(dir string, w way, n, imagePages int, guarded bool) (*engine, error) {
	e := &engine{way: w, committed: map[int][]byte{}, pages: imagePages, page: make([]byte, PageSize)}
	image, err := os.Create(filepath.Join(dir, "image.bin"))
	if err != nil {
		return nil, err
	}
	e.image = image
	for p := range imagePages {
		content := make([]byte, PageSize)
		for i := 0; i < PageSize; i += 8 {
			binary.LittleEndian.PutUint64(content[i:], uint64(p+1)<<32|uint64(i))
		}
		e.committed[p] = content
		if _, err := image.WriteAt(content, int64(p)*PageSize); err != nil {
			return nil, err
		}
	}
	// An odd base: rounding addresses instead of offsets would show.
	whole, err := mapping.Reserve(n*PageSize, mapping.SystemPage())
	if err != nil {
		return nil, err
	}
	e.region, e.mem = whole, whole.Bytes()
	if w.shared {
		scratch, err := os.Create(filepath.Join(dir, "limbo.bin"))
		if err != nil {
			return nil, err
		}
		defer scratch.Close()
		if err := scratch.Truncate(int64(n) * PageSize); err != nil {
			return nil, err
		}
		if err := whole.MapFile(0, n*PageSize, mapping.ReadWrite, scratch.Fd(), 0, true); err != nil {
			return nil, err
		}
		for p := range imagePages {
			copy(e.mem[p*PageSize:], e.committed[p])
		}
	} else {
		if err := whole.MapAnon(0, n*PageSize, mapping.ReadWrite); err != nil {
			return nil, err
		}
		if err := whole.MapFile(0, imagePages*PageSize, mapping.ReadWrite, image.Fd(), 0, false); err != nil {
			return nil, err
		}
		if err := whole.Advise(0, n*PageSize, mapping.NoHugePage); err != nil {
			return nil, err
		}
	}
	mapped := imagePages
	if w.shared {
		mapped = 0
	}
	e.Arena, err = Open(Config{Kind: w.kind, Region: whole, Mapped: mapped, Shared: w.shared, Reference: e, Guard: guarded})
	if err != nil {
		return nil, errors.Join(err, whole.Release(), image.Close())
	}
	return e, nil
}

func (e *engine) close() {
	if err := errors.Join(e.Arena.Close(), e.region.Release(), e.image.Close()); err != nil {
		e.t.Error(err)
	}
}

func (e *engine) bytes(p int) []byte { return e.mem[p*PageSize : (p+1)*PageSize] }

// store changes one byte of a page.
func (e *engine) store(pages ...int) {
	for _, p := range pages {
		e.mem[p*PageSize+p%PageSize]++
	}
}

// collect collects and proves that nothing was missed: every page below limit
// that differs from the committed state is reported, in ascending order, once.
func (e *engine) collect(limit int) []int {
	e.t.Helper()
	dirty, err := e.Collect(nil, limit)
	if err != nil {
		e.t.Fatal(err)
	}
	if !slices.IsSorted(dirty) || len(slices.Compact(slices.Clone(dirty))) != len(dirty) {
		e.t.Fatalf("not ascending: %v", dirty)
	}
	e.mustCover(dirty, limit)
	return dirty
}

func (e *engine) mustCover(dirty []int, limit int) {
	e.t.Helper()
	low, high := e.Watermarks()
	for p := range limit {
		if p == e.GuardPage() {
			if !guard.Free(low, high, p) {
				e.t.Fatalf("guard page %d on live bytes: low %d, high %d", p, low, high)
			}
			if slices.Contains(dirty, p) {
				e.t.Fatalf("guard page %d reported", p)
			}
			continue
		}
		if _, found := slices.BinarySearch(dirty, p); !found && e.differs(p) {
			e.t.Fatalf("page %d differs from the committed state and is not reported", p)
		}
	}
}

// commit makes the collected pages the committed state, as a checkpoint does.
func (e *engine) commit(dirty []int, pages int) {
	for _, p := range dirty {
		e.committed[p] = bytes.Clone(e.bytes(p))
	}
	for p := range e.committed {
		if p >= pages {
			delete(e.committed, p)
		}
	}
	e.pages = pages
	e.pending = append(e.pending, dirty...)
}

// apply writes the committed pages to the image.
func (e *engine) apply() {
	e.t.Helper()
	if err := e.image.Truncate(int64(e.pages) * PageSize); err != nil {
		e.t.Fatal(err)
	}
	for _, p := range e.pending {
		content := e.committed[p]
		if content == nil {
			continue // cut off since
		}
		if _, err := e.image.WriteAt(content, int64(p)*PageSize); err != nil {
			e.t.Fatal(err)
		}
	}
	e.pending = nil
}

// checkpoint collects, commits and applies, and returns what was dirty.
func (e *engine) checkpoint(limit int) []int {
	e.t.Helper()
	dirty := e.collect(limit)
	e.commit(dirty, max(limit, e.pages))
	e.apply()
	return dirty
}

// mustMatch ends a test: after a checkpoint the arena is the committed state,
// and nothing is dirty any more.
func (e *engine) mustMatch(limit int) {
	e.t.Helper()
	if e.t.Failed() || e.t.Skipped() {
		return
	}
	e.checkpoint(limit)
	for p := range limit {
		if p != e.GuardPage() && e.differs(p) {
			e.t.Fatalf("page %d is not the committed one", p)
		}
	}
	if dirty := e.collect(limit); len(dirty) > 0 {
		e.t.Fatalf("dirty after a checkpoint without stores: %v", dirty)
	}
}

// mustBe compares page numbers.
func mustBe(t testing.TB, what string, got []int, want ...int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: pages %s, want %s", what, brief(got), brief(want))
	}
}

func brief(pages []int) string {
	if len(pages) > 20 {
		return fmt.Sprintf("%v... (%d)", pages[:20], len(pages))
	}
	return fmt.Sprint(pages)
}

// closed tells whether a page refuses loads.
func (e *engine) closed(p int) bool {
	err := mapping.Guarded(e.bytes(p), func() error {
		peek(&e.bytes(p)[0])
		return nil
	})
	return errors.Is(err, mapping.ErrFault)
}

func span(lo, hi int) []int {
	var s []int
	for p := lo; p < hi; p++ {
		s = append(s, p)
	}
	return s
}

// rounds says how often a test repeats what depends on chance: n times, or
// many more in a soak.
func rounds(n int) int {
	switch {
	case os.Getenv("LOOM_SOAK") != "":
		return 40 * n
	case testing.Short():
		return n / 10
	default:
		return n
	}
}
