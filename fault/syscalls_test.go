//go:build linux && (amd64 || arm64)

package fault

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// TestKernelStores: system calls store into clean pages, into dropped ones and
// above the image, and every tracker that does not refuse them sees it.
func TestKernelStores(t *testing.T) {
	const n = 4096 // what O_DIRECT asks for
	content := bytes.Repeat([]byte{0xa7}, n)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	ways := []struct {
		name  string
		store func(dst []byte) error
	}{
		{"read", func(dst []byte) error {
			return from(source, 0, func(fd int) (int, error) { return unix.Read(fd, dst) })
		}},
		{"pipe", func(dst []byte) error {
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				return err
			}
			return pass(p[1], p[0], content, func(fd int) (int, error) { return unix.Read(fd, dst) })
		}},
		{"recvmsg", func(dst []byte) error {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return pass(p[1], p[0], content, func(fd int) (int, error) {
				n, _, _, _, err := unix.Recvmsg(fd, dst, nil, 0)
				return n, err
			})
		}},
		{"process_vm_writev", func(dst []byte) error {
			local := unix.Iovec{Base: &content[0], Len: n}
			remote := unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&dst[0])), Len: n}
			return all(unix.ProcessVMWritev(os.Getpid(), []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0))
		}},
		{"/proc/self/mem", func(dst []byte) error {
			f, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			return all(f.WriteAt(content, int64(uintptr(unsafe.Pointer(&dst[0])))))
		}},
		{"O_DIRECT", func(dst []byte) error {
			return from(source, unix.O_DIRECT, func(fd int) (int, error) { return unix.Pread(fd, dst, 0) })
		}},
		{"O_DIRECT preadv", func(dst []byte) error {
			return from(source, unix.O_DIRECT, func(fd int) (int, error) { return unix.Preadv(fd, [][]byte{dst}, 0) })
		}},
		{"io_uring", func(dst []byte) error {
			return from(source, 0, func(fd int) (int, error) { return uringRead(fd, dst) })
		}},
	}
	for _, c := range ways {
		t.Run(c.name, func(t *testing.T) {
			forEachWay(t, func(t *testing.T, w way) {
				if w.kind == Mprotect {
					t.Skip("the kernel refuses: TestReadIntoArena")
				}
				e := newEngine(t, w, arenaPages, imagePages, false)
				e.store(30, 40, 140)
				e.checkpoint(arenaPages)
				if !w.shared {
					e.advise(40, mapping.DontNeed)
				}
				// 20 untouched, 30 saved, 40 dropped, 140 saved and 150 untouched above the file.
				for _, p := range []int{20, 30, 40, 140, 150} {
					dst := e.bytes(p)[2*n : 3*n]
					if err := c.store(dst); err != nil {
						t.Skipf("not run: %v", err)
					}
					if !bytes.Equal(dst, content) {
						t.Fatal("nothing was stored")
					}
				}
				mustBe(t, c.name, e.checkpoint(arenaPages), 20, 30, 40, 140, 150)
			})
		})
	}
}

// from opens a file and reads it once.
func from(name string, flags int, read func(fd int) (int, error)) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return all(read(fd))
}

// pass writes to one end and reads from the other.
func pass(to, back int, content []byte, read func(fd int) (int, error)) error {
	defer unix.Close(to)
	defer unix.Close(back)
	if err := all(unix.Write(to, content)); err != nil {
		return err
	}
	return all(read(back))
}

func all(n int, err error) error {
	if err == nil && n != 4096 {
		return fmt.Errorf("%d bytes of 4096", n)
	}
	return err
}
