//go:build linux && (amd64 || arm64)

package fault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// Advice that the engine does not give.
const (
	adviceMergeable     = 12
	adviceUnmergeable   = 13
	adviceHugePage      = 14
	advicePageOut       = 21
	advicePopulateWrite = 23
	adviceCollapse      = 25
)

// madvise gives it nevertheless, about the pages [lo, hi).
func (e *engine) madvise(lo, hi, advice int) error {
	return unix.Madvise(e.mem[lo*PageSize:hi*PageSize], advice)
}

// TestPopulatedPagesAreDirty: what copies all pages, as mlock and
// MADV_POPULATE_WRITE do, stores to them.
func TestPopulatedPagesAreDirty(t *testing.T) {
	for name, populate := range map[string]func(e *engine) error{
		"MADV_POPULATE_WRITE": func(e *engine) error { return e.madvise(10, 20, advicePopulateWrite) },
		"mlock":               func(e *engine) error { return unix.Mlock(e.mem[10*PageSize : 20*PageSize]) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
			if err := populate(e); err != nil {
				t.Skipf("not run: %v", err)
			}
			mustBe(t, name, e.checkpoint(arenaPages), span(10, 20)...)
			e.store(12)
			mustBe(t, "stored", e.checkpoint(arenaPages), 12)
		})
	}
	t.Run("MAP_POPULATE", func(t *testing.T) {
		e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, e.region.Base()+10*PageSize, 10*PageSize, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_POPULATE, e.image.Fd(), 10*PageSize)
		if errno != 0 {
			t.Fatal(errno)
		}
		private, err := pagemapOf(e).privateParts(10, 20)
		if err != nil || private != 10*parts() {
			t.Fatalf("%d private parts, %v", private, err)
		}
		if err := e.Forget(10, 20); err != nil {
			t.Fatal(err)
		}
		mustBe(t, "forgotten", e.collect(arenaPages))
		e.store(12)
		mustBe(t, "stored", e.checkpoint(arenaPages), 12)
	})
}

// storeAll changes one byte of each part of a page.
func (e *engine) storeAll(p int) {
	for at := 0; at < PageSize; at += mapping.SystemPage() {
		e.bytes(p)[at]++
	}
}

// privateParts counts the parts of [lo, hi) that have memory of their own.
func (m *pagemap) privateParts(lo, hi int) (n int, err error) {
	err = m.scanner.scan(isPrivate, lo*parts(), hi*parts(), func(lo, hi int, _ uint64) { n += hi - lo })
	return n, err
}

// TestUnregisteredScanIsSilent: why scans ask for scanRegistered.
func TestUnregisteredScanIsSilent(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	if err := e.region.MapFile(10*PageSize, 10*PageSize, mapping.ReadWrite, e.image.Fd(), 10*PageSize, false); err != nil {
		t.Fatal(err)
	}
	e.store(12)
	s, found := pagemapOf(e).scanner, 0
	count := func(lo, hi int, _ uint64) { found += hi - lo }
	silent := isTouched.rearming()
	silent.flags &^= scanRegistered
	if err := s.scan(silent, 10*parts(), 20*parts(), count); err != nil || found != 0 {
		t.Errorf("without the flag: %d parts, %v", found, err)
	}
	if err := s.scan(isTouched.rearming(), 10*parts(), 20*parts(), count); !errors.Is(err, unix.EPERM) {
		t.Errorf("with the flag: %d parts, %v", found, err)
	}
	mustBe(t, "stored", e.checkpoint(arenaPages), 12)
	e.mustHaveRebuilt(1)
}

// TestCollapse: the kernel makes no huge page of protected ones, so a store
// still makes one page dirty.
func TestCollapse(t *testing.T) {
	const pages, huge = 512, 2 << 20
	e := newEngine(t, way{kind: Uffd}, pages, 0, false)
	lo := int(-e.region.Base()&(huge-1)+PageSize-1) / PageSize
	e.store(span(0, pages)...)
	for i := range e.mem {
		e.mem[i]++ // every part
	}
	e.checkpoint(pages)
	if err := e.madvise(lo, lo+huge/PageSize, adviceHugePage); err != nil {
		t.Skipf("not run: %v", err)
	}
	if err := e.madvise(lo, lo+huge/PageSize, adviceCollapse); err == nil {
		t.Error("protected pages were collapsed")
	}
	e.store(lo + 7)
	mustBe(t, "one store", e.checkpoint(pages), lo+7)
}

// TestSplice: pages that went into a pipe are tracked like others. The reader
// sees what is stored until it reads.
func TestSplice(t *testing.T) {
	for _, w := range []way{{kind: Uffd}, {kind: Mprotect}, {kind: Cow}} {
		t.Run(w.String(), func(t *testing.T) {
			e := newEngine(t, w, arenaPages, imagePages, false)
			e.store(150)
			e.checkpoint(arenaPages)
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			iov := unix.Iovec{Base: &e.bytes(150)[0], Len: 64}
			if _, _, errno := unix.Syscall6(unix.SYS_VMSPLICE, uintptr(p[1]), uintptr(unsafe.Pointer(&iov)), 1, 0, 0, 0); errno != 0 {
				t.Skipf("not run: %v", errno)
			}
			mustBe(t, "gone into a pipe", e.collect(arenaPages))
			e.bytes(150)[5] = 0xee
			got := make([]byte, 64)
			if n, err := unix.Read(p[0], got); n != 64 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			if got[5] != 0xee {
				t.Errorf("the pipe holds %#x", got[5])
			}
			mustBe(t, "stored", e.checkpoint(arenaPages), 150)
		})
	}
}

// TestRegisteredBuffers: why doc.go warns of them. The pages count as stored
// to when the buffer is registered, and never again.
func TestRegisteredBuffers(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	content := bytes.Repeat([]byte{0xa7}, 4096)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	u, err := openUring()
	if err != nil {
		t.Skipf("not run: %v", err)
	}
	defer u.close()
	dst := e.bytes(150)[:4096]
	e.storeAll(150)
	if err := u.register(dst); err != nil {
		t.Skipf("not run: %v", err)
	}
	mustBe(t, "registered", e.checkpoint(arenaPages), 150)
	if n, err := u.read(opReadFixed, int(f.Fd()), dst); n != 4096 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if !bytes.Equal(dst, content) {
		t.Fatal("nothing was stored")
	}
	dirty, err := e.Collect(nil, arenaPages)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "read into the registered buffer", dirty)
	e.Mark([]int{150})
}

// TestImageWritesAndHoles: what is written to image.bin shows in the pages that
// are not private, and in no other; so does a hole.
func TestImageWritesAndHoles(t *testing.T) {
	for _, w := range []way{{kind: Uffd}, {kind: Mprotect}, {kind: Cow}} {
		t.Run(w.String(), func(t *testing.T) {
			e := newEngine(t, w, arenaPages, imagePages, false)
			e.storeAll(5)
			kept := bytes.Clone(e.bytes(5))
			for _, p := range []int{5, 6} {
				if _, err := e.image.WriteAt([]byte{0xcd}, int64(p)*PageSize); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(e.bytes(5), kept) || e.bytes(6)[0] != 0xcd {
				t.Errorf("after a write: %#x and %#x", e.bytes(5)[0], e.bytes(6)[0])
			}
			err := unix.Fallocate(int(e.image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 5*PageSize, 2*PageSize)
			if err != nil {
				t.Logf("no hole: %v", err)
			} else if !bytes.Equal(e.bytes(5), kept) || e.bytes(6)[0] != 0 {
				t.Errorf("after a hole: %#x and %#x", e.bytes(5)[0], e.bytes(6)[0])
			}
			if _, err := e.image.WriteAt(e.committed[6], 6*PageSize); err != nil {
				t.Fatal(err)
			}
			mustBe(t, "stored", e.checkpoint(arenaPages), 5)
		})
	}
}

// TestCutImage: why the engine maps memory over pages that it is about to cut
// off image.bin. With the file goes what was stored to them; no search tells
// that, and whatever touches them then fails.
func TestCutImage(t *testing.T) {
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	e.storeAll(59)
	e.storeAll(95)
	if err := e.image.Truncate(60 * PageSize); err != nil {
		t.Fatal(err)
	}
	dirty, err := e.Collect(nil, arenaPages)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "found", dirty, 59)
	if !e.closed(95) {
		t.Error("the page is still there")
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if _, err := unix.Write(p[1], e.bytes(95)[:8]); !errors.Is(err, unix.EFAULT) {
		t.Errorf("a system call that reads it: %v", err)
	}
	if err := e.region.MapAnon(60*PageSize, 40*PageSize, mapping.ReadWrite); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.SetMapped(60), e.Forget(60, 100)); err != nil {
		t.Fatal(err)
	}
	e.commit(dirty, 60)
	e.apply()
	e.store(95)
	mustBe(t, "stored into what took its place", e.checkpoint(arenaPages), 95)
}

// TestSwappedPages: pages that are swapped out stay clean or dirty, are found
// without being read in, and keep their state when they are.
func TestSwappedPages(t *testing.T) {
	swapOn(t)
	for _, w := range []way{{kind: Uffd}, {kind: Mprotect}, {kind: Cow}} {
		t.Run(w.String(), func(t *testing.T) {
			e := newEngine(t, w, arenaPages, imagePages, false)
			clean, stored := []int{20, 200}, []int{30, 210}
			for _, p := range append(clean, stored...) {
				e.storeAll(p) // a part that was only read would be compared
			}
			e.checkpoint(arenaPages)
			e.store(stored...)
			out := func(pages ...int) {
				t.Helper()
				for _, p := range pages {
					if err := e.madvise(p, p+1, advicePageOut); err != nil {
						t.Skipf("not run: %v", err)
					}
					if !swapped(e, p) {
						t.Skipf("not run: page %d was not swapped out", p)
					}
				}
			}
			out(30, 200, 210)
			if w.kind != Cow { // which drops clean pages of the image instead
				out(20)
			}
			dirty, err := e.Collect(nil, arenaPages)
			if err != nil {
				t.Fatal(err)
			}
			mustBe(t, "swapped out", dirty, stored...)
			for _, p := range []int{20, 30, 210} {
				if w.kind == Uffd && !swapped(e, p) {
					t.Errorf("the search brought page %d in", p)
				}
			}
			e.commit(dirty, arenaPages)
			e.apply()
			for _, p := range append(clean, stored...) {
				peek(&e.bytes(p)[PageSize-1])
			}
			mustBe(t, "swapped in by loads", e.collect(arenaPages))
			e.store(20, 210)
			out(20, 210)
			peek(&e.bytes(20)[20])
			mustBe(t, "swapped out, and one in again", e.checkpoint(arenaPages), 20, 210)
		})
	}
}

// swapped tells whether everything private of a page is swapped out.
func swapped(e *engine, p int) bool {
	var out, in bool
	s := pagemapOf(e).scanner
	return errors.Join(
		s.scan(query{mask: categorySwapped}, p*parts(), (p+1)*parts(), func(int, int, uint64) { out = true }),
		s.scan(query{mask: categoryPresent | categoryFile | categoryZero, absent: categoryFile | categoryZero}, p*parts(), (p+1)*parts(), func(int, int, uint64) { in = true }),
	) == nil && out && !in
}

// swapOn sees to it that the system has swap space. Making some is for root,
// in a soak: it is the whole machine's.
func swapOn(t *testing.T) {
	t.Helper()
	if swaps, err := os.ReadFile("/proc/swaps"); err == nil && strings.Count(string(swaps), "\n") > 1 {
		return
	}
	if os.Getuid() != 0 || os.Getenv("LOOM_SOAK") == "" {
		t.Skip("not run: there is no swap space, and only a soak as root makes some")
	}
	const size, sys = 64 << 20, 4096
	header := make([]byte, size)
	header[1024] = 1 // version
	last := uint32(size/sys - 1)
	copy(header[1028:], []byte{byte(last), byte(last >> 8), byte(last >> 16), byte(last >> 24)})
	copy(header[sys-10:], "SWAPSPACE2")
	name := filepath.Join(t.TempDir(), "swap")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Synced: a file with holes or delayed blocks is refused.
	if _, err := f.Write(header); err != nil || f.Sync() != nil {
		t.Skipf("not run: no file for swap space: %v", err)
	}
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		t.Skipf("not run: no swap space: %v", errno)
	}
	t.Cleanup(func() {
		if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
			t.Errorf("swap space %s stays on: %v", name, errno)
		}
	})
}

// TestMergedPages: the kernel may replace what was stored by a page that it
// shares, the page of zeros above all. That is not read from a page that was
// never stored to, and is found. A merged page is not private any more, so the
// store that parts it again is found, too.
func TestMergedPages(t *testing.T) {
	const ksm = "/sys/kernel/mm/ksm/"
	if os.Getuid() != 0 || os.Getenv("LOOM_SOAK") == "" {
		t.Skip("not run: merging is the whole machine's, and only a soak as root starts it")
	}
	set := func(name, value string) {
		old, err := os.ReadFile(ksm + name)
		if err != nil {
			t.Skipf("not run: %v", err)
		}
		if err := os.WriteFile(ksm+name, []byte(value), 0); err != nil {
			t.Skipf("not run: %v", err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(ksm+name, bytes.TrimSpace(old), 0); err != nil {
				t.Error(err)
			}
		})
	}
	set("use_zero_pages", "1")
	set("sleep_millisecs", "1")
	set("pages_to_scan", "10000")
	set("run", "1")
	e := newEngine(t, way{kind: Uffd}, arenaPages, imagePages, false)
	e.store(20, 200, 201)
	e.checkpoint(arenaPages)
	clear(e.bytes(20))
	clear(e.bytes(200))
	if err := e.madvise(0, imagePages, adviceMergeable); err != nil {
		t.Skipf("not run: %v", err)
	}
	if err := e.madvise(imagePages, arenaPages, adviceMergeable); err != nil {
		t.Fatal(err)
	}
	zeros := func(p int) (n int) {
		s := pagemapOf(e).scanner
		if err := s.scan(query{mask: categoryZero}, p*parts(), (p+1)*parts(), func(lo, hi int, _ uint64) { n += hi - lo }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	scans := func() int {
		b, err := os.ReadFile(ksm + "full_scans")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for first := scans(); zeros(20) < parts() || zeros(200) < parts(); time.Sleep(time.Millisecond) {
		if scans() > first+200 {
			t.Skipf("not run: %d and %d parts of %d were merged", zeros(20), zeros(200), parts())
		}
	}
	dirty := e.checkpoint(arenaPages)
	t.Logf("dirty: %v", brief(dirty))
	for p := range arenaPages {
		if e.differs(p) {
			t.Fatalf("page %d was lost", p)
		}
	}
	e.store(20, 200)
	e.checkpoint(arenaPages)
	if err := errors.Join(e.madvise(0, imagePages, adviceUnmergeable), e.madvise(imagePages, arenaPages, adviceUnmergeable)); err != nil {
		t.Fatal(err)
	}
}
