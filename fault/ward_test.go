//go:build linux && (amd64 || arm64)

package fault

import (
	"bytes"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"loomstore/guard"
	"loomstore/internal/mapping"
)

// newWarded opens an arena whose guard is in the middle of [low, high).
func newWarded(t *testing.T, w way, low, high int) *engine {
	t.Helper()
	e := newEngine(t, w, arenaPages, imagePages, true)
	if e.GuardPage() != guard.None {
		t.Fatalf("guard at %d before the first Ward", e.GuardPage())
	}
	e.mark(low, high)
	if err := e.Ward(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) mark(low, high int) {
	e.t.Helper()
	if err := e.SetWatermarks(low, high); err != nil {
		e.t.Fatal(err)
	}
}

// try runs f as loom.Do does, and says where the guard stopped it.
func (e *engine) try(f func()) error {
	err := mapping.Guarded(e.mem, func() error { f(); return nil })
	if fe, ok := errors.AsType[*mapping.FaultError](err); ok && e.Exhausted(fe.Offset) {
		return guard.ErrExhausted
	}
	return err
}

func (e *engine) mustGuard(page int) {
	e.t.Helper()
	if e.GuardPage() != page {
		e.t.Fatalf("guard at page %d, want %d", e.GuardPage(), page)
	}
}

// TestGuardRecentres lets the low end grow over the whole arena a page at a
// time. Each hit moves the guard and is an ordinary store, until there is no
// room; then the store is refused, and accepted when there is room again.
func TestGuardRecentres(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, imagePages*PageSize, 280*PageSize)
		e.mustGuard(190)
		last := 190
		var stored []int
		exhausted := false
		for p := imagePages; p < 280; p++ {
			e.mark((p+1)*PageSize-100, 280*PageSize)
			err := e.try(func() { e.store(p) })
			if errors.Is(err, guard.ErrExhausted) {
				exhausted = true
				if 280-(p+1) >= 2 {
					t.Fatalf("exhausted at page %d", p)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, p)
			if g := e.GuardPage(); g != last {
				if g < last || g <= p {
					t.Fatalf("guard went from %d to %d with low in page %d", last, g, p)
				}
				last = g
			}
		}
		if !exhausted {
			t.Fatal("never exhausted")
		}
		if e.Stats().GuardMoves < 5 {
			t.Fatalf("%d moves", e.Stats().GuardMoves)
		}
		e.mark((stored[len(stored)-1]+1)*PageSize, 280*PageSize)
		mustBe(t, "stored", e.collect(arenaPages), stored...)
		e.Mark(stored)
		e.mark(imagePages*PageSize, arenaPages*PageSize)
		if err := e.try(func() { e.store(last) }); err != nil {
			t.Fatalf("with room again: %v", err)
		}
	})
}

// TestGuardIsExhaustionWithUnmovedWatermarks: nothing was announced, so
// nothing moves; loads are stopped like stores; the rest goes on.
func TestGuardIsExhaustionWithUnmovedWatermarks(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		at := e.mem[200*PageSize:]
		var sink byte
		src := make([]byte, 3*PageSize)
		for name, f := range map[string]func(){
			"store":      func() { at[5] = 1 },
			"load":       func() { sink += at[PageSize-1] },
			"copy into":  func() { copy(e.mem[199*PageSize:], src) },
			"copy out":   func() { copy(src, e.mem[199*PageSize:]) },
			"small copy": func() { copy(at[10:], src[:3]) },
			"clear":      func() { clear(at[:100]) },
			"append":     func() { _ = append(at[:0:PageSize], 1) },
			"search":     func() { sink += byte(bytes.IndexByte(at[:20], 7)) },
		} {
			if err := e.try(f); !errors.Is(err, guard.ErrExhausted) {
				t.Errorf("%s: %v", name, err)
			}
		}
		e.mustGuard(200)
		e.store(199, 201)
		if err := e.Touch(199*PageSize, 2*PageSize); !errors.Is(err, guard.ErrExhausted) {
			t.Errorf("touch: %v", err)
		}
		if e.Exhausted(-1) || e.Exhausted(201*PageSize) || !e.Exhausted(200*PageSize+77) {
			t.Error("Exhausted is not about the guard page alone")
		}
	})
}

// TestGuardLosesNoDirt: a dirty page that becomes the guard is not saved while
// it is, and dirty when it is no more.
func TestGuardLosesNoDirt(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, true)
		e.store(200, 250)
		e.mark(100*PageSize, 300*PageSize)
		if err := e.Ward(); err != nil {
			t.Fatal(err)
		}
		e.mustGuard(200)
		mustBe(t, "below", e.collect(arenaPages), 250)
		e.Mark([]int{250})
		e.mark(240*PageSize, 300*PageSize)
		mustBe(t, "on live bytes it moves first", e.checkpoint(arenaPages), 200, 250)
		e.mustGuard(270)
		if e.closed(200) || !e.closed(270) {
			t.Fatal("the guard page is not the closed one")
		}
	})
}

// TestGuardOffWithoutRoom: with live bytes everywhere there is no guard, every
// page can be saved, and the guard is back when there is room.
func TestGuardOffWithoutRoom(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		e.mark(arenaPages*PageSize, arenaPages*PageSize)
		if err := e.Ward(); !errors.Is(err, guard.ErrExhausted) {
			t.Fatalf("ward without room: %v", err)
		}
		e.collect(arenaPages)
		e.mustGuard(guard.None)
		e.store(200)
		if dirty := e.checkpoint(arenaPages); !slices.Contains(dirty, 200) {
			t.Fatalf("former guard page not reported: %v", dirty)
		}
		e.mark(100*PageSize, 120*PageSize)
		e.collect(arenaPages)
		e.mustGuard(110)
		if !e.closed(110) {
			t.Fatal("guard page open")
		}
	})
}

// TestGuardSurvivesRearming: Collect, Unprotect, Forget and Touch beside the
// guard leave it closed and everything else open to loads.
func TestGuardSurvivesRearming(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		for name, f := range map[string]func() error{
			"collect":   func() error { e.collect(arenaPages); return nil },
			"unprotect": e.Unprotect,
			"forget":    func() error { return e.Forget(190, 210) },
			"touch":     func() error { return e.Touch(150*PageSize, 50*PageSize) },
		} {
			if err := f(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			e.mustGuard(200)
			for p := range arenaPages {
				if e.closed(p) != (p == 200) {
					t.Fatalf("after %s page %d closed: %t", name, p, e.closed(p))
				}
			}
		}
	})
}

// TestForgetMapsTheGuard: a new mapping opened the guard page; Forget closes it.
func TestForgetMapsTheGuard(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		if w.shared {
			t.Skip("the arena is one mapping")
		}
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		if err := e.region.MapAnon(200*PageSize, 10*PageSize, mapping.ReadWrite); err != nil {
			t.Fatal(err)
		}
		if err := e.Forget(200, 210); err != nil {
			t.Fatal(err)
		}
		if !e.closed(200) || e.closed(201) {
			t.Fatal("guard page not closed again")
		}
		e.store(201)
		mustBe(t, "stored", e.checkpoint(arenaPages), 201)
	})
}

// TestTouchMovesTheGuard: a system call into announced bytes that hold the
// guard page works with every tracker.
func TestTouchMovesTheGuard(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		e.mark(203*PageSize, 300*PageSize)
		if err := e.Touch(199*PageSize, 3*PageSize); err != nil {
			t.Fatal(err)
		}
		e.mustGuard(251)
		n, err := e.image.ReadAt(e.mem[199*PageSize:202*PageSize], 0)
		if n != 3*PageSize || err != nil {
			t.Fatal(n, err)
		}
		mustBe(t, "read", e.checkpoint(arenaPages), 199, 200, 201)
	})
}

// TestGuardHitByManyThreads: 8 threads store into the guard page at once,
// often; it moves once, every store lands, and one page is closed.
func TestGuardHitByManyThreads(t *testing.T) {
	rounds := rounds(300)
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		const threads = 8
		lines := make([]chan int, threads)
		var done sync.WaitGroup
		var exit sync.WaitGroup
		for i := range lines {
			lines[i] = make(chan int)
			exit.Go(func() {
				runtime.LockOSThread()
				for p := range lines[i] {
					e.bytes(p)[i*512] = byte(i + 1)
					done.Done()
				}
			})
		}
		for round := range rounds {
			hit := e.GuardPage()
			clear := make([]byte, 0, threads)
			// The high end goes down and up, far enough that the
			// middle moves each time.
			e.mark(100*PageSize, (250+50*(round%2))*PageSize)
			done.Add(threads)
			for _, line := range lines {
				line <- hit
			}
			done.Wait()
			for i := range threads {
				clear = append(clear, e.bytes(hit)[i*512])
			}
			if !bytes.Equal(clear, []byte{1, 2, 3, 4, 5, 6, 7, 8}) {
				t.Fatalf("round %d: stores lost: %v", round, clear)
			}
			if g := e.GuardPage(); g == hit {
				t.Fatalf("round %d: guard stayed at %d", round, g)
			}
			if n := e.Stats().GuardMoves; n != uint64(round+1) {
				t.Fatalf("round %d: %d moves", round, n)
			}
			if !e.closed(e.GuardPage()) {
				t.Fatalf("round %d: guard page %d is open", round, e.GuardPage())
			}
			if round%50 == 0 {
				dirty := e.collect(arenaPages)
				if !slices.Contains(dirty, hit) && hit != e.GuardPage() {
					t.Fatalf("round %d: page %d not dirty: %v", round, hit, dirty)
				}
				e.Mark(dirty)
			}
		}
		for _, line := range lines {
			close(line)
		}
		exit.Wait()
		e.mark(arenaPages*PageSize, arenaPages*PageSize)
	})
}

// TestWardLosesNoStore: Ward opens a page while the program runs; what is
// stored there from then on is found.
func TestWardLosesNoStore(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		e.mark(210*PageSize, 300*PageSize)
		if err := e.Ward(); err != nil {
			t.Fatal(err)
		}
		e.mustGuard(255)
		e.store(200)
		mustBe(t, "former guard page", e.checkpoint(arenaPages), 200)
	})
}

// TestCollectOpensStalePages: a thread that lost a race for the guard may
// leave another page closed; the kernel could not read it.
func TestCollectOpensStalePages(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		if err := e.region.Protect(50*PageSize, PageSize, mapping.None); err != nil {
			t.Fatal(err)
		}
		e.slot.moves.Add(1)
		// Not by e.collect, whose look at the page would open it.
		if dirty, err := e.Collect(nil, arenaPages); err != nil || w.kind != Mprotect && len(dirty) > 0 {
			t.Fatal(dirty, err)
		}
		if _, err := e.image.WriteAt(e.bytes(50), 50*PageSize); err != nil {
			t.Fatalf("write from the page: %v", err)
		}
	})
}

// TestTouchOpensStalePages: so does Touch, for the call that it prepares, while
// the program runs; and it leaves the guard closed.
func TestTouchOpensStalePages(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		e.mark(203*PageSize, 300*PageSize)
		if err := e.region.Protect(198*PageSize, PageSize, mapping.None); err != nil {
			t.Fatal(err)
		}
		if err := e.Touch(198*PageSize, 3*PageSize); err != nil {
			t.Fatal(err)
		}
		n, err := e.image.ReadAt(e.mem[198*PageSize:201*PageSize], 0)
		if n != 3*PageSize || err != nil {
			t.Fatal(n, err)
		}
		e.mustGuard(251)
		mustBe(t, "read", e.checkpoint(arenaPages), 198, 199, 200)
	})
}

// TestTouchMovesAGuardThatIsOpen: one that was just moved there, and would be
// closed when the call comes.
func TestTouchMovesAGuardThatIsOpen(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newWarded(t, w, 100*PageSize, 300*PageSize)
		e.mark(203*PageSize, 300*PageSize)
		if err := e.region.Protect(200*PageSize, PageSize, mapping.ReadWrite); err != nil {
			t.Fatal(err)
		}
		if err := e.Touch(200*PageSize, PageSize); err != nil {
			t.Fatal(err)
		}
		e.mustGuard(251)
		if n, err := e.image.ReadAt(e.bytes(200), 0); n != PageSize || err != nil {
			t.Fatal(n, err)
		}
		mustBe(t, "read", e.checkpoint(arenaPages), 200)
	})
}

// TestGuardGoesBackClosed: where the guard can not be closed in its new place
// it stays in the old one, which a thread may have opened meanwhile.
func TestGuardGoesBackClosed(t *testing.T) {
	e := newWarded(t, way{kind: Cow}, 100*PageSize, 300*PageSize)
	g := e.GuardPage()
	if err := e.region.Protect(g*PageSize, PageSize, mapping.ReadWrite); err != nil {
		t.Fatal(err)
	}
	if _, err := e.moveGuard(g, arenaPages); !errors.Is(err, mapping.ErrRange) {
		t.Fatal(err)
	}
	e.mustGuard(g)
	if !e.closed(g) {
		t.Fatal("the guard page is open")
	}
}

// TestWatermarksMoveMeanwhile: one goroutine moves both ends up or down over
// windows that have no page in common, another hits the guard, which lies in
// the first of them. It never meets watermarks that belong to two windows: that
// would look like exhaustion.
func TestWatermarksMoveMeanwhile(t *testing.T) {
	const window, windows = 4, 64
	e := newEngine(t, way{kind: Cow}, window*windows, 0, true)
	var moved atomic.Int64
	for round := range rounds(1000) {
		announce := func(i int) {
			if round%2 == 1 {
				i = windows - 1 - i
			}
			if err := e.SetWatermarks(i*window*PageSize, (i+1)*window*PageSize); err != nil {
				t.Error(err)
			}
		}
		announce(0)
		if err := e.Ward(); err != nil {
			t.Fatal(err)
		}
		g := e.GuardPage()
		moved.Store(0)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; i < windows; i++ {
				announce(i)
				moved.Store(int64(i))
			}
		})
		for moved.Load() == 0 {
			runtime.Gosched()
		}
		err := e.try(func() { peek(&e.bytes(g)[0]) })
		wg.Wait()
		if err != nil {
			t.Fatalf("round %d, guard %d: %v", round, g, err)
		}
	}
}

func TestWatermarksAreChecked(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, true)
		for _, c := range [][2]int{{-1, 5}, {6, 5}, {0, arenaPages*PageSize + 1}} {
			if err := e.SetWatermarks(c[0], c[1]); !errors.Is(err, guard.ErrWatermarks) {
				t.Errorf("SetWatermarks(%d, %d) = %v", c[0], c[1], err)
			}
		}
		for _, c := range [][2]int{{5, 10}, {50, 60}, {1, 2}, {0, arenaPages * PageSize}} {
			e.mark(c[0], c[1])
			if low, high := e.Watermarks(); low != c[0] || high != c[1] {
				t.Errorf("watermarks %d, %d, want %v", low, high, c)
			}
		}
	})
}

// TestSetPanicOnFaultStaysTheCallers: Do's guard restores the caller's setting.
func TestSetPanicOnFaultStaysTheCallers(t *testing.T) {
	e := newWarded(t, way{kind: Mprotect}, 100*PageSize, 300*PageSize)
	for _, setting := range []bool{false, true} {
		old := debug.SetPanicOnFault(setting)
		err := e.try(func() { e.store(200) })
		if got := debug.SetPanicOnFault(old); got != setting {
			t.Errorf("setting %t became %t", setting, got)
		}
		if !errors.Is(err, guard.ErrExhausted) {
			t.Error(err)
		}
	}
}
