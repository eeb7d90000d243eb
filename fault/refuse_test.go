//go:build linux && (amd64 || arm64)

package fault

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuse makes the kernel answer a system call with an error from here on, as
// a container's filter does, in all threads of this process: for children. An
// ioctl is refused for one request only.
func refuse(call, request uint32, errno syscall.Errno) error {
	const load, equal, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{{Code: load, K: 0}, {Code: equal, Jf: 1, K: call}}
	if request != 0 { // the low half of the second argument
		filter[1].Jf = 3
		filter = append(filter, unix.SockFilter{Code: load, K: 24}, unix.SockFilter{Code: equal, Jf: 1, K: request})
	}
	filter = append(filter,
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if err != 0 {
		return err
	}
	return nil
}

// refused takes away one call after the other: Auto goes on to what is left
// and says what it passed over and why.
func refused() {
	first := child(way{kind: Auto}, arenaPages, false)
	if first.Kind() != Uffd {
		fmt.Println("not run here:", first.Reason())
		ok()
		return
	}
	tracks := func(e *engine, want Kind, reasons ...string) {
		if e.Kind() != want {
			must(fmt.Errorf("took %s because %s", e.Kind(), e.Reason()))
		}
		for _, r := range reasons {
			if !strings.Contains(e.Reason(), r) {
				must(fmt.Errorf("the reason for %s does not say %q: %s", e.Kind(), r, e.Reason()))
			}
		}
		e.store(7, 207)
		mustBe(e.t, "stored", e.checkpoint(arenaPages), 7, 207)
		e.store(8)
		mustBe(e.t, "stored again", e.checkpoint(arenaPages), 8)
	}
	tracks(first, Uffd)

	// A kernel before 6.7.
	must(refuse(unix.SYS_IOCTL, pagemapScan, syscall.ENOTTY))
	tracks(child(way{kind: Auto}, arenaPages, false), Mprotect, "uffd", "scan of the page tables")
	cow := child(way{kind: Cow}, arenaPages, false)
	if pagemapOf(cow).scanner != nil {
		must(errors.New("the scan was not refused"))
	}
	tracks(cow, Cow)
	// The arena that was scanned until now does not lose a store either.
	first.store(9)
	mustBe(first.t, "without a scan", first.checkpoint(arenaPages), 9)
	if first.Stats().Compared == 0 {
		must(errors.New("the scan was not refused to the first arena"))
	}

	// A container.
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENOSYS} {
		must(refuse(unix.SYS_USERFAULTFD, 0, errno))
		tracks(child(way{kind: Auto}, arenaPages, true), Mprotect, "uffd", errno.Error())
		_, err := buildEngine(os.TempDir(), way{kind: Uffd}, 4, 0, false)
		if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, errno) {
			must(fmt.Errorf("asked for uffd: %v", err))
		}
	}
	must(refuse(unix.SYS_RT_SIGACTION, 0, syscall.EPERM))
	tracks(child(way{kind: Auto}, arenaPages, false), Cow, "uffd", "mprotect")
	ok()
}

// unprivileged is nobody, and can not become anybody else: what root can use is
// there all the same, whatever vm.unprivileged_userfaultfd says.
func unprivileged() {
	const nobody = 65534
	var kinds []Kind
	for _, k := range []Kind{Uffd, Mprotect, Cow, Auto} {
		e, err := buildEngine(os.TempDir(), way{kind: k}, arenaPages, imagePages, false)
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		must(err)
		e.t = dying{}
		e.close()
		kinds = append(kinds, k)
	}
	dir, err := os.MkdirTemp(os.TempDir(), "nobody")
	must(err)
	must(os.Chdir(dir)) // the way there may be closed to nobody
	runtime.LockOSThread()
	if os.Geteuid() == 0 {
		must(os.Chown(".", nobody, nobody))
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(nobody, nobody, nobody))
		must(syscall.Setresuid(nobody, nobody, nobody))
		// As a program is that nobody has started: else /proc/self is root's.
		must(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0))
	}
	must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	for _, k := range kinds {
		e, err := buildEngine(".", way{kind: k}, arenaPages, imagePages, false)
		must(err)
		e.t = dying{}
		for range 2 {
			e.store(7, 207)
			mustBe(e.t, string(k), e.checkpoint(arenaPages), 7, 207)
		}
		if k == Auto && e.Kind() != kinds[0] {
			must(fmt.Errorf("auto took %s because %s", e.Kind(), e.Reason()))
		}
		e.close()
	}
	ok()
}
