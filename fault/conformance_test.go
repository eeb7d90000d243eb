//go:build linux

package fault

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"loomstore/internal/mapping"
)

// The cases below hold for every tracker. Each ends with newEngine's own
// check: a checkpoint, the arena compared page by page, and nothing dirty.

const (
	arenaPages = 300
	imagePages = 100
)

func TestNothingDirtyAtOpen(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		for p := range arenaPages {
			_ = e.bytes(p)[p] // loads dirty nothing
		}
		mustBe(t, "after loads", e.collect(arenaPages))
	})
}

func TestSequential(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(span(0, arenaPages)...)
		mustBe(t, "all", e.checkpoint(arenaPages), span(0, arenaPages)...)
	})
}

func TestRandom(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		rng := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			want := rng.Perm(arenaPages)[:rng.IntN(60)]
			e.store(want...)
			slices.Sort(want)
			mustBe(t, "stored", e.checkpoint(arenaPages), want...)
		}
	})
}

func TestDirtyAgainAfterCheckpoint(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		for range 5 {
			e.store(7, 99, 100, 299)
			mustBe(t, "again", e.checkpoint(arenaPages), 7, 99, 100, 299)
			mustBe(t, "quiet", e.checkpoint(arenaPages))
			e.store(7)
			mustBe(t, "one", e.checkpoint(arenaPages), 7)
		}
	})
}

// TestDirtyWhileApplyRuns: the checkpoint is committed and image.bin still
// holds the old pages. Pages stored to again are found, the others are clean
// and keep their content, which is nowhere else in the arena's reach (R11).
func TestDirtyWhileApplyRuns(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(3, 4, 150, 151)
		e.commit(e.collect(arenaPages), arenaPages)
		mustBe(t, "no store since", e.collect(arenaPages))
		e.store(4, 151)
		dirty := e.collect(arenaPages)
		mustBe(t, "stored since", dirty, 4, 151)
		for _, p := range []int{3, 150} {
			if e.differs(p) {
				t.Fatalf("page %d lost its content", p)
			}
		}
		e.commit(dirty, arenaPages)
		e.apply()
		mustBe(t, "all applied", e.collect(arenaPages))
	})
}

// TestFailedAttempt: what was collected is not saved, and marked again.
func TestFailedAttempt(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(5, 200)
		dirty := e.collect(arenaPages)
		e.Mark(dirty)
		e.store(6)
		mustBe(t, "retry", e.collect(arenaPages), 5, 6, 200)
		e.Mark([]int{5, 6, 200})
	})
}

// TestMarkIsUnconditional: marked pages are reported though they equal the
// committed state, and are not dropped instead.
func TestMarkIsUnconditional(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.Mark([]int{1, 64, 128})
		mustBe(t, "marked", e.collect(arenaPages), 1, 64, 128)
		mustBe(t, "once", e.collect(arenaPages))
		e.MarkAll(130)
		mustBe(t, "all", e.collect(129), span(0, 129)...)
		mustBe(t, "rest", e.collect(arenaPages), 129)
	})
}

func TestLimitKeepsDirt(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(10, 63, 64, 120, 250)
		mustBe(t, "none", e.collect(0))
		mustBe(t, "below 64", e.checkpoint(64), 10, 63)
		mustBe(t, "below 121", e.checkpoint(121), 64, 120)
		e.store(10)
		mustBe(t, "all", e.checkpoint(arenaPages), 10, 250)
		if _, err := e.Collect(nil, arenaPages+1); !errors.Is(err, ErrRange) {
			t.Fatalf("limit behind the arena: %v", err)
		}
		if _, err := e.Collect(nil, -1); !errors.Is(err, ErrRange) {
			t.Fatalf("negative limit: %v", err)
		}
	})
}

func TestCollectAppends(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(2)
		got, err := e.Collect([]int{77}, arenaPages)
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, "appended", got, 77, 2)
		e.Mark(got[1:])
	})
}

// TestManyGoroutinesOnePage: no store is lost and the page is dirty, whoever
// comes first.
func TestManyGoroutinesOnePage(t *testing.T) {
	const goroutines = 64
	rounds := rounds(50)
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		for round := range rounds {
			pages := []int{round % imagePages, imagePages + round%imagePages}
			start := make(chan struct{})
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					if g%8 == 0 {
						runtime.LockOSThread()
						defer runtime.UnlockOSThread()
					}
					<-start
					for _, p := range pages {
						e.bytes(p)[g*8] = byte(round) ^ 0xa5
						runtime.Gosched()
					}
				})
			}
			close(start)
			if round%10 == 0 {
				runtime.GC()
			}
			wg.Wait()
			mustBe(t, "both pages", e.collect(arenaPages), pages...)
			for g := range goroutines {
				for _, p := range pages {
					if e.bytes(p)[g*8] != byte(round)^0xa5 {
						t.Fatalf("round %d: store %d into page %d was lost", round, g, p)
					}
				}
			}
			e.commit(pages, arenaPages)
			e.apply()
		}
	})
}

// TestGrowth: pages above the image become part of it and stay what they are,
// then are mapped to the file at a later stop.
func TestGrowth(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(100, 120)
		mustBe(t, "new pages", e.checkpoint(130), 100, 120)
		e.store(50, 110, 120)
		mustBe(t, "old and new", e.checkpoint(130), 50, 110, 120)
		if !w.shared {
			if err := e.region.MapFile(100*PageSize, 30*PageSize, mapping.ReadWrite, e.image.Fd(), 100*PageSize, false); err != nil {
				t.Fatal(err)
			}
			if err := e.SetMapped(130); err != nil {
				t.Fatal(err)
			}
			if err := e.Forget(100, 130); err != nil {
				t.Fatal(err)
			}
		}
		mustBe(t, "after the file was mapped", e.collect(arenaPages))
		e.store(129, 105)
		mustBe(t, "stored into the new mapping", e.checkpoint(arenaPages), 105, 129)
	})
}

// TestShrink: before image.bin is cut its pages are replaced by anonymous
// memory with the same content, and marked: they are not part of the image any
// more. When the image grows again they are saved.
func TestShrink(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(10, 80)
		dirty := e.collect(60)
		mustBe(t, "below the new end", dirty, 10)
		if !w.shared {
			kept := slices.Clone(e.mem[60*PageSize : 100*PageSize])
			if err := e.region.MapAnon(60*PageSize, 40*PageSize, mapping.ReadWrite); err != nil {
				t.Fatal(err)
			}
			copy(e.mem[60*PageSize:], kept)
			if err := e.SetMapped(60); err != nil {
				t.Fatal(err)
			}
			if err := e.Forget(60, 100); err != nil {
				t.Fatal(err)
			}
		}
		e.Mark(span(60, 100))
		e.commit(dirty, 60)
		e.apply()
		mustBe(t, "small", e.collect(60))
		e.store(20)
		mustBe(t, "grown again", e.checkpoint(90), append([]int{20}, span(60, 90)...)...)
	})
}

// TestRollback: dirty pages are dropped and show the checkpoint again; above
// the file mapping the engine restores them itself.
func TestRollback(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(1, 2, 150)
		e.checkpoint(arenaPages)
		e.store(2, 3, 150, 160)
		dirty := e.collect(arenaPages)
		mustBe(t, "dirty", dirty, 2, 3, 150, 160)
		for _, p := range dirty {
			if p < e.mapped {
				if err := e.region.Advise(p*PageSize, PageSize, mapping.DontNeed); err != nil {
					t.Fatal(err)
				}
			} else {
				clear(e.bytes(p))
				copy(e.bytes(p), e.committed[p])
			}
			if err := e.Forget(p, p+1); err != nil {
				t.Fatal(err)
			}
		}
		mustBe(t, "rolled back", e.collect(arenaPages))
		for p := range arenaPages {
			if e.differs(p) {
				t.Fatalf("page %d was not rolled back", p)
			}
		}
		e.store(2, 160)
		mustBe(t, "stored again", e.collect(arenaPages), 2, 160)
		e.Mark([]int{2, 160})
	})
}

// TestForgetTakesMarks: what was marked or stored is clean once the engine has
// put the committed content there.
func TestForgetTakesMarks(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.Mark([]int{5, 6, 7, 150})
		e.bytes(6)[9]++
		e.bytes(6)[9]--
		if err := e.Forget(5, 7); err != nil {
			t.Fatal(err)
		}
		mustBe(t, "the others", e.collect(arenaPages), 7, 150)
	})
}

// TestWaysToStore: all the ways in which compiled code stores.
func TestWaysToStore(t *testing.T) {
	src := make([]byte, 4*PageSize)
	for i := range src {
		src[i] = byte(i*7) | 1
	}
	for _, c := range []struct {
		name  string
		store func(m []byte)
		want  []int
	}{
		{"copy small", func(m []byte) { copy(m[5*PageSize:], src[:3]) }, []int{5}},
		{"copy over a border", func(m []byte) { copy(m[6*PageSize-10:], src[:20]) }, []int{5, 6}},
		{"copy large", func(m []byte) { copy(m[98*PageSize+100:], src) }, span(98, 103)},
		{"clear", func(m []byte) { clear(m[7*PageSize : 9*PageSize]) }, []int{7, 8}},
		{"memmove up", func(m []byte) { copy(m[20*PageSize+8:24*PageSize], m[20*PageSize:]) }, span(20, 24)},
		{"memmove down", func(m []byte) { copy(m[30*PageSize:], m[30*PageSize+PageSize/2:33*PageSize]) }, span(30, 33)},
		{"append", func(m []byte) { _ = append(m[:40*PageSize:41*PageSize], 1, 2, 3) }, []int{40}},
		{"atomic", func(m []byte) { atomic.AddUint64((*uint64)(unsafe.Pointer(&m[200*PageSize+8])), 5) }, []int{200}},
		{"unaligned word over a border", func(m []byte) { *(*uint64)(unsafe.Pointer(&m[44*PageSize-4])) = 1 << 63 / 3 }, []int{43, 44}},
		{"array", func(m []byte) { *(*[64]byte)(m[47*PageSize:]) = [64]byte{1, 2, 3} }, []int{47}},
		{"map read, string, closure", func(m []byte) { func(v map[string]byte) { m[48*PageSize] = v["x"] }(map[string]byte{"x": 200}) }, []int{48}},
	} {
		t.Run(c.name, func(t *testing.T) {
			forEachWay(t, func(t *testing.T, w way) {
				e := newEngine(t, w, arenaPages, imagePages, false)
				c.store(e.mem)
				mustBe(t, c.name, e.checkpoint(arenaPages), c.want...)
			})
		})
	}
}

// TestReadIntoArena: the kernel stores into clean pages. With Touch it works
// everywhere; without, mprotect refuses it with an error that can be
// explained, and loses nothing.
func TestReadIntoArena(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		r, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer wr.Close()
		if _, err := wr.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		at := 41*PageSize - 5
		_, err = r.Read(e.mem[at : at+10])
		if w.kind == Mprotect {
			if !errors.Is(err, syscall.EFAULT) {
				t.Fatalf("read into clean pages: %v, want EFAULT", err)
			}
			if told := ExplainEFAULT(err); !errors.Is(told, ErrNotTouched) || !errors.Is(told, syscall.EFAULT) {
				t.Fatalf("not explained: %v", told)
			}
			mustBe(t, "refused", e.collect(arenaPages))
			if err := e.Touch(at, 10); err != nil {
				t.Fatal(err)
			}
			// The first attempt may have taken bytes out of the pipe.
			if _, err := wr.Write([]byte("0123456789")); err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadFull(r, e.mem[at:at+10])
		}
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, "read", e.checkpoint(arenaPages), 40, 41)

		// Touched and stored to after a checkpoint, in the anonymous part.
		if err := e.Touch(250*PageSize, 1); err != nil {
			t.Fatal(err)
		}
		if n, err := e.image.ReadAt(e.bytes(250)[:100], 0); n != 100 || err != nil {
			t.Fatal(n, err)
		}
		mustBe(t, "read from a file", e.checkpoint(arenaPages), 250)
	})
	if err := ExplainEFAULT(io.EOF); err != io.EOF {
		t.Fatalf("other errors are not explained: %v", err)
	}
	if err := ExplainEFAULT(nil); err != nil {
		t.Fatal(err)
	}
}

func TestTouchBounds(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		for _, c := range [][2]int{{-1, 1}, {0, -1}, {arenaPages * PageSize, 1}, {1, arenaPages * PageSize}, {1 << 62, 1 << 62}} {
			if err := e.Touch(c[0], c[1]); !errors.Is(err, ErrRange) {
				t.Errorf("Touch(%d, %d) = %v", c[0], c[1], err)
			}
		}
		for _, c := range [][2]int{{0, 0}, {arenaPages * PageSize, 0}} {
			if err := e.Touch(c[0], c[1]); err != nil {
				t.Errorf("Touch(%d, %d) = %v", c[0], c[1], err)
			}
		}
		mustBe(t, "nothing touched", e.collect(arenaPages))
	})
}

func TestHighest(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		expect := func(what string, want int) {
			t.Helper()
			got, err := e.Highest()
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("%s: highest %d, want %d", what, got, want)
			}
		}
		expect("at open", 0)
		e.store(102, 260)
		expect("stored", 261)
		e.checkpoint(261)
		expect("after the checkpoint", 261)
		e.store(120)
		expect("it never falls", 261)
		e.store(299)
		expect("the last page", 300)
		if err := e.Unprotect(); err != nil {
			t.Fatal(err)
		}
		expect("unprotected", 300)
	})
}

// TestUnprotect: until the next Collect nothing faults, and nothing is lost.
func TestUnprotect(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		e.store(1)
		if err := e.Unprotect(); err != nil {
			t.Fatal(err)
		}
		before := e.Stats().Faults
		e.store(2, 70, 110, 280)
		if got := e.Stats().Faults; got != before {
			t.Fatalf("%d faults while unprotected", got-before)
		}
		top, err := e.Highest()
		if err != nil || top != 281 {
			t.Fatalf("highest %d, %v", top, err)
		}
		mustBe(t, "below 100", e.checkpoint(100), 1, 2, 70)
		e.store(3, 281)
		mustBe(t, "tracked again", e.checkpoint(arenaPages), 3, 110, 280, 281)
	})
}

// TestSeveralArenas: each has its own pages, and a closed one makes room.
func TestSeveralArenas(t *testing.T) {
	forEachWay(t, func(t *testing.T, w way) {
		a := newEngine(t, w, arenaPages, imagePages, true)
		b := newEngine(t, w, arenaPages, 0, true)
		a.store(1, 200)
		b.store(2, 201)
		mustBe(t, "first", a.checkpoint(arenaPages), 1, 200)
		mustBe(t, "second", b.checkpoint(arenaPages), 2, 201)
	})
}

func TestCowNeedsPrivatePages(t *testing.T) {
	_, err := buildEngine(t.TempDir(), way{Cow, true}, 4, 0, false)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("cow of a shared mapping: %v", err)
	}
}

func TestAutoSaysWhy(t *testing.T) {
	e := newEngine(t, way{kind: Auto}, arenaPages, imagePages, false)
	if e.Kind() == Auto || e.Reason() == "" {
		t.Fatalf("kind %q because %q", e.Kind(), e.Reason())
	}
	e.store(8)
	mustBe(t, "stored", e.checkpoint(arenaPages), 8)
}

func TestBadConfig(t *testing.T) {
	e := newEngine(t, way{kind: Compare}, 4, 0, false)
	for name, cfg := range map[string]Config{
		"no region":     {Reference: e},
		"no reference":  {Region: e.region},
		"image too big": {Region: e.region, Reference: e, Mapped: 5},
		"negative":      {Region: e.region, Reference: e, Mapped: -1},
		"unknown kind":  {Region: e.region, Reference: e, Kind: "magic"},
	} {
		if a, err := Open(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
	if err := e.SetMapped(5); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	if err := e.Forget(3, 5); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
}
