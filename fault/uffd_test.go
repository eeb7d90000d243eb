//go:build linux && (amd64 || arm64)

package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// advise gives advice about one page.
func (e *engine) advise(p int, a mapping.Advice) {
	e.t.Helper()
	if err := e.region.Advise(p*PageSize, PageSize, a); err != nil {
		e.t.Fatal(err)
	}
}

// mustHaveRebuilt tells how often uffd has begun anew.
func (e *engine) mustHaveRebuilt(n uint64) {
	e.t.Helper()
	if got := e.Stats().Rebuilds; got != n {
		e.t.Fatalf("%d rebuilds, want %d", got, n)
	}
}

// TestUffdIsThere: where the kernel has what uffd needs, it is not refused by
// a check of ours, and its other tests are not skipped.
func TestUffdIsThere(t *testing.T) {
	f, err := openUserfault()
	if err != nil {
		t.Skipf("not run here: %v", err)
	}
	f.close()
	var version unix.Utsname
	var major, minor int
	if err := unix.Uname(&version); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(version.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if major < 6 || major == 6 && minor < 7 || os.Getenv(runnerEnv) != "" {
		t.Skipf("not run here: Linux %d.%d", major, minor)
	}
	e, err := buildEngine(t.TempDir(), way{kind: Uffd}, 4, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	e.t = t
	e.close()
}

// TestUffdStates is the table of states a page can be in, of the file mapping
// and of the anonymous part.
func TestUffdStates(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	for _, p := range []int{20, 200} {
		both := func(what string, dirty bool) {
			t.Helper()
			want := []int{p}
			if !dirty {
				want = nil
			}
			mustBe(t, what, e.checkpoint(arenaPages), want...)
		}
		both("untouched", false)
		peek(&e.bytes(p)[0])
		both("read", false)
		e.store(p)
		both("stored", true)
		peek(&e.bytes(p)[0])
		both("read after the scan", false)
		e.store(p)
		both("stored again", true)
		// A part of it alone, the first and the last.
		for _, at := range []int{0, PageSize - 1} {
			e.bytes(p)[at]++
			both("one part", true)
		}
		// Closed and opened again it stays as it was, clean or dirty.
		reopen := func() {
			for _, prot := range []mapping.Prot{mapping.None, mapping.ReadWrite} {
				if err := e.region.Protect(p*PageSize, PageSize, prot); err != nil {
					t.Fatal(err)
				}
			}
		}
		reopen()
		both("closed while clean", false)
		e.store(p)
		reopen()
		both("closed while dirty", true)
	}
	// Dropped pages of the file mapping show the image.
	e.advise(20, mapping.DontNeed)
	mustBe(t, "dropped while clean", e.collect(arenaPages))
	e.store(20)
	mustBe(t, "stored after it was dropped", e.checkpoint(arenaPages), 20)
	e.store(20)
	e.advise(20, mapping.DontNeed)
	mustBe(t, "dropped while dirty", e.collect(arenaPages))
	// Unless it is told, uffd takes a page for private that was so once.
	peek(&e.bytes(20)[0])
	mustBe(t, "read after that", e.checkpoint(arenaPages), 20)
	e.store(20)
	e.advise(20, mapping.DontNeed)
	if err := e.Forget(20, 21); err != nil {
		t.Fatal(err)
	}
	peek(&e.bytes(20)[0])
	mustBe(t, "read after it was dropped and forgotten", e.collect(arenaPages))
	// Zero pages are not left out: this one lost its content.
	e.store(200)
	e.advise(200, mapping.DontNeed)
	peek(&e.bytes(200)[0])
	mustBe(t, "shared page of zeros", e.checkpoint(arenaPages), 200)
	// Bringing pages in without a store does nothing.
	if err := e.region.Advise(0, imagePages*PageSize, mapping.PopulateRead); err != nil && !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	mustBe(t, "populated", e.collect(arenaPages))
	locked := e.mem[:imagePages*PageSize]
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(&locked[0])), uintptr(len(locked)), unix.MLOCK_ONFAULT)
	if errno != 0 {
		t.Logf("not locked: %v", errno)
	}
	mustBe(t, "locked on fault", e.collect(arenaPages))
	e.store(60)
	mustBe(t, "stored into locked memory", e.checkpoint(arenaPages), 60)
	if err := unix.Munlock(locked); err != nil {
		t.Fatal(err)
	}
	// A child process changes nothing.
	e.store(30)
	if err := exec.Command("/bin/true").Run(); err != nil {
		t.Log(err)
	}
	mustBe(t, "after a child", e.checkpoint(arenaPages), 30)
	e.mustHaveRebuilt(0)
}

// TestUffdEvictedSharedPages: a dirty page of a shared mapping may be written
// to its file and leave the page tables. It is dirty nevertheless.
func TestUffdEvictedSharedPages(t *testing.T) {
	e := newEngine(t, way{Uffd, true}, arenaPages, imagePages, false)
	e.store(3, 203)
	e.checkpoint(arenaPages)
	e.store(5, 205)
	if err := unix.Msync(e.mem, unix.MS_SYNC); err != nil {
		t.Fatal(err)
	}
	for _, p := range []int{3, 5, 7, 203, 205, 207} {
		e.advise(p, mapping.DontNeed)
	}
	mustBe(t, "evicted", e.checkpoint(arenaPages), 5, 205)
}

// TestUffdRegistrationLost: somebody maps over a part of the arena and says
// nothing. The scan fails; nothing is lost that was stored before or since,
// and the next stores are tracked.
func TestUffdRegistrationLost(t *testing.T) {
	for _, w := range []way{{Uffd, false}, {Uffd, true}} {
		for name, lose := range map[string]func(e *engine) error{
			"mapped over": func(e *engine) error {
				if w.shared { // the same file again
					f := e.tracker.(*uffd).fault
					if err := f.forget(e.region); err != nil {
						return err
					}
					return f.register(e.region)
				}
				return e.region.MapFile(10*PageSize, 10*PageSize, mapping.ReadWrite, e.image.Fd(), 10*PageSize, false)
			},
			"moved away and back": func(e *engine) error {
				elsewhere, err := mapping.Reserve(10*PageSize, mapping.SystemPage())
				if err != nil {
					return err
				}
				defer elsewhere.Release()
				here := e.region.Base() + 10*PageSize
				for _, move := range [][2]uintptr{{here, elsewhere.Base()}, {elsewhere.Base(), here}} {
					_, _, errno := unix.Syscall6(unix.SYS_MREMAP, move[0], 10*PageSize, 10*PageSize, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, move[1], 0)
					if errno != 0 {
						return errno
					}
				}
				return nil
			},
			"unmapped": func(e *engine) error {
				if w.shared {
					return e.tracker.(*uffd).fault.forget(e.region)
				}
				if _, _, errno := unix.Syscall(unix.SYS_MUNMAP, e.region.Base()+10*PageSize, 10*PageSize, 0); errno != 0 {
					return errno
				}
				return e.region.MapFile(10*PageSize, 10*PageSize, mapping.ReadWrite, e.image.Fd(), 10*PageSize, false)
			},
			"closed": func(e *engine) error {
				return e.tracker.(*uffd).fault.forget(e.region)
			},
		} {
			t.Run(w.String()+"/"+name, func(t *testing.T) {
				e := newEngine(t, w, arenaPages, imagePages, false)
				e.store(3, 120)
				e.checkpoint(130)
				e.store(3, 50, 250)
				e.Mark([]int{60})
				if err := lose(e); err != nil {
					t.Fatal(err)
				}
				// A child that has not yet called exec holds the descriptor, too.
				dup, err := unix.FcntlInt(uintptr(e.tracker.(*uffd).fault.fd), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(dup)
				e.store(12, 140)
				if w.shared && name == "mapped over" {
					// Nothing failed: all pages have lost their protection, and count.
					if got := e.checkpoint(arenaPages); len(got) != arenaPages {
						t.Fatalf("%d pages", len(got))
					}
					return
				}
				top, err := e.Highest()
				if err != nil || top < 251 {
					t.Fatalf("highest %d, %v", top, err)
				}
				mustBe(t, "below 130", e.checkpoint(130), 3, 12, 50, 60)
				mustBe(t, "all", e.checkpoint(arenaPages), 140, 250)
				e.mustHaveRebuilt(1)
				e.store(12, 200)
				mustBe(t, "tracked again", e.checkpoint(arenaPages), 12, 200)
			})
		}
	}
}

// TestUffdSmallReports: a report that is full, or a limit within it, ends a
// scan early; going on finds each page exactly once.
func TestUffdSmallReports(t *testing.T) {
	for _, w := range []way{{Uffd, false}, {Uffd, true}} {
		for room := 1; room < 12; room += 3 {
			e := newEngine(t, w, arenaPages, imagePages, false)
			e.tracker.(*uffd).tables.scanner.room = room
			var want []int
			for p := 1; p < arenaPages; p += 1 + p%3 {
				// Several parts of a page are several reports.
				e.bytes(p)[0]++
				e.bytes(p)[PageSize-1]++
				want = append(want, p)
			}
			if top, err := e.Highest(); err != nil || top != want[len(want)-1]+1 {
				t.Fatalf("highest %d, %v", top, err)
			}
			mustBe(t, "scattered", e.checkpoint(arenaPages), want...)
			mustBe(t, "quiet", e.checkpoint(arenaPages))
		}
	}
}

// TestUffdRebuildFails: there is no descriptor for a new registration. Until
// there is one, Collect compares; then it goes on as before.
func TestUffdRebuildFails(t *testing.T) {
	for _, w := range []way{{Uffd, false}, {Uffd, true}} {
		t.Run(w.String(), func(t *testing.T) {
			e := newEngine(t, w, arenaPages, imagePages, false)
			e.store(3, 120)
			e.checkpoint(130)
			e.store(4, 121)
			e.store(50)
			if err := e.tracker.(*uffd).fault.forget(e.region); err != nil {
				t.Fatal(err)
			}
			restore := withoutDescriptors(t)
			mustBe(t, "compared", e.collect(60), 4, 50)
			e.Mark([]int{4, 50})
			copy(e.bytes(50), e.committed[50])
			if err := e.Forget(50, 51); err != nil {
				t.Fatal(err)
			}
			e.store(3)
			mustBe(t, "compared again", e.checkpoint(130), 3, 4, 121)
			e.store(5, 200)
			if top, err := e.Highest(); err != nil || top < 201 {
				t.Fatalf("highest %d, %v", top, err)
			}
			if n := e.Stats().Compared; n != 2 {
				t.Fatalf("compared %d times", n)
			}
			restore()
			mustBe(t, "found", e.checkpoint(arenaPages), 5, 200)
			e.mustHaveRebuilt(1)
			e.store(6)
			mustBe(t, "tracked again", e.checkpoint(arenaPages), 6)
		})
	}
}

// withoutDescriptors lets this process open nothing more until the function
// that it returns is called.
func withoutDescriptors(t *testing.T) func() {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Skipf("not run: %v", err)
	}
	var once sync.Once
	restore := func() {
		once.Do(func() {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(restore)
	return restore
}

// TestUffdConverges: the kernel's own promise. Scanning and then copying while
// another thread stores misses nothing: after the last scan the copy is true.
func TestUffdConverges(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	scan := func(visit func(p int)) {
		t.Helper()
		err := e.tracker.(*uffd).written.take(arenaPages, imagePages, func(lo, hi int, _ bool) {
			for p := lo; p < hi; p++ {
				visit(p)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	word := func(p int) *uint64 { return (*uint64)(unsafe.Pointer(&e.bytes(p)[8*(p%1000)])) }
	copied := make([]uint64, arenaPages)
	take := func(p int) { copied[p] = atomic.LoadUint64(word(p)) }
	for p := range arenaPages {
		take(p)
	}
	stores := rounds(20000)
	var wg sync.WaitGroup
	var done atomic.Bool
	wg.Go(func() {
		defer done.Store(true)
		for i := range stores {
			atomic.AddUint64(word(i*7919%arenaPages), 1)
		}
	})
	for !done.Load() {
		scan(take)
	}
	wg.Wait()
	scan(take)
	for p := range arenaPages {
		if copied[p] != *word(p) {
			t.Fatalf("page %d: copied %d, is %d", p, copied[p], *word(p))
		}
	}
	e.Mark(span(0, arenaPages)) // the scans took them
}

// TestResidentArena: the image was read into anonymous memory before Open, and
// counts as clean.
func TestResidentArena(t *testing.T) {
	for _, kind := range []Kind{Uffd, Mprotect, Cow, Compare} {
		t.Run(string(kind), func(t *testing.T) {
			e := newEngine(t, way{kind: kind}, arenaPages, imagePages, false)
			if err := e.Arena.Close(); err != nil {
				t.Fatal(err)
			}
			if err := e.region.MapAnon(0, imagePages*PageSize, mapping.ReadWrite); err != nil {
				t.Fatal(err)
			}
			for p := range imagePages {
				copy(e.bytes(p), e.committed[p])
			}
			var err error
			if e.Arena, err = Open(Config{Kind: kind, Region: e.region, Reference: e}); err != nil {
				t.Fatal(err)
			}
			mustBe(t, "filled before", e.collect(arenaPages))
			e.store(8, 99, 140)
			mustBe(t, "stored", e.checkpoint(arenaPages), 8, 99, 140)
		})
	}
}

// TestUffdHugePages: memory that was made of huge pages before Open does not
// make one store 128 dirty pages.
func TestUffdHugePages(t *testing.T) {
	const huge, n = 2 << 20, 4 * (2 << 20) / PageSize
	for _, filled := range []bool{true, false} {
		r, err := mapping.Reserve(n*PageSize, huge)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.MapAnon(0, n*PageSize, mapping.ReadWrite); err != nil {
			t.Fatal(err)
		}
		if err := unix.Madvise(r.Bytes(), unix.MADV_HUGEPAGE); err != nil {
			t.Logf("without huge pages: %v", err)
		}
		if filled {
			for i := range r.Bytes() {
				r.Bytes()[i] = 1
			}
		}
		a, err := Open(Config{Kind: Uffd, Region: r, Reference: cleanly{n}})
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skipf("not run here: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			r.Bytes()[200*PageSize] = 9
			dirty, err := a.Collect(nil, n)
			if err != nil {
				t.Fatal(err)
			}
			mustBe(t, "one store", dirty, 200)
		}
		if err := errors.Join(a.Close(), r.Release()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVastArena: pages all over 1 TiB are found: no limit at 2^32 bytes.
func TestVastArena(t *testing.T) {
	const pages = 1 << 40 / PageSize
	for _, kind := range []Kind{Uffd, Cow} {
		t.Run(string(kind), func(t *testing.T) {
			r := vast(t, pages)
			if err := r.MapAnon(0, pages*PageSize, mapping.ReadWrite); err != nil {
				t.Fatal(err)
			}
			a, err := Open(Config{Kind: kind, Region: r, Reference: blank{}})
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skipf("not run here: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			var want []int
			for i := range 50 {
				p := i * (pages - 1) / 49
				r.Bytes()[p*PageSize+i]++
				want = append(want, p)
				if top, err := a.Highest(); err != nil || top != p+1 {
					t.Fatalf("highest %d, %v; want %d", top, err, p+1)
				}
			}
			dirty, err := a.Collect(nil, pages)
			if err != nil {
				t.Fatal(err)
			}
			mustBe(t, "stored", dirty, want...)
			if kind == Uffd { // without a file the other one compares for ever
				if dirty, err = a.Collect(nil, pages); err != nil {
					t.Fatal(err)
				}
				mustBe(t, "quiet", dirty)
			}
		})
	}
}

// TestUffdRefusesVastSharedArenas: page tables for all of it would be more
// than its user expects.
func TestUffdRefusesVastSharedArenas(t *testing.T) {
	r := vast(t, maxSharedUffd/PageSize+1)
	if _, err := Open(Config{Kind: Uffd, Region: r, Shared: true, Reference: blank{}}); !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
}

// vast reserves a large arena for a test.
func vast(t *testing.T, pages int) *mapping.Region {
	if os.Getenv(runnerEnv) != "" {
		t.Skip("not run: the emulator takes its time for that many addresses")
	}
	r, err := mapping.Reserve(pages*PageSize, PageSize)
	if err != nil {
		t.Skipf("not run: %v", err)
	}
	t.Cleanup(func() { _ = r.Release() })
	return r
}

// blank is the Reference of a store that has no page yet.
type blank struct{}

func (blank) Same(int, []byte) bool { return false }
func (blank) Pages() int            { return 0 }
func (blank) Applied() bool         { return true }
