//go:build linux && (amd64 || arm64)

package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
)

// What would end the process, or changes it for good, runs in a child: this
// test binary again, with the name of a deed in its environment.
const childEnv = "LOOMSTORE_FAULT_CHILD"

// deeds are what children do. Those that get an engine do it beside an open
// arena with a guard page.
var deeds = map[string]func(e *engine){
	"nil dereference": func(*engine) { *(*int)(nil) = 1 },
	"unmapped address": func(*engine) {
		r, err := mapping.Reserve(PageSize, PageSize)
		must(err)
		b := r.Bytes()
		must(r.Release())
		b[0] = 1
	},
	"closed page outside": func(*engine) {
		r, err := mapping.Reserve(PageSize, PageSize)
		must(err)
		r.Bytes()[0] = 1
	},
	"kill": func(*engine) {
		must(syscall.Kill(os.Getpid(), syscall.SIGSEGV))
		time.Sleep(time.Minute) // the signal ends this
	},
	"stack overflow": func(*engine) {
		debug.SetMaxStack(1 << 20)
		var f func(n int) int
		f = func(n int) int { return f(n+1) + 1 }
		fmt.Println(f(0))
	},
	"recovered nil dereference": func(*engine) {
		defer func() { fmt.Println("recovered:", recover()) }()
		*(*int)(nil) = 1
	},
	"recovered outside": func(*engine) {
		r, err := mapping.Reserve(PageSize, PageSize)
		must(err)
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			off, ok := mapping.FaultOffset(r.Bytes(), recover())
			fmt.Println("recovered at", off, ok)
		}()
		r.Bytes()[77] = 1
	},
	"child of a child": func(*engine) {
		// An exec'ed program starts with the default action.
		err := exec.Command("/bin/sh", "-c", "kill -SEGV $$").Run()
		fmt.Println(err)
	},
}

// lonely are deeds that need an arena.
var lonely = map[string]func(){
	"jump into the arena": func() {
		e := child(way{kind: Mprotect}, arenaPages, true)
		code := uintptr(unsafe.Pointer(&e.bytes(250)[0])) // not the guard page
		entry := &code
		f := *(*func())(unsafe.Pointer(&entry))
		f()
	},
	"guard page without Do": func() {
		e := child(way{kind: Mprotect}, arenaPages, true)
		e.bytes(e.GuardPage())[5] = 1
	},
	"guard page in another goroutine": func() {
		e := child(way{kind: Mprotect}, arenaPages, true)
		_ = e.try(func() {
			var wg sync.WaitGroup
			wg.Go(func() { e.bytes(e.GuardPage())[5] = 1 })
			wg.Wait()
		})
	},
	"signal forged with an address": func() {
		e := child(way{kind: Mprotect}, arenaPages, true)
		info := struct {
			signo, errno, code int32
			_                  int32
			addr               uintptr
			_                  [104]byte
		}{signo: int32(syscall.SIGSEGV), code: -1, addr: uintptr(unsafe.Pointer(&e.bytes(3)[0]))}
		runtime.LockOSThread()
		_, _, errno := syscall.RawSyscall6(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(os.Getpid()), uintptr(syscall.Gettid()),
			uintptr(syscall.SIGSEGV), uintptr(unsafe.Pointer(&info)), 0, 0)
		fmt.Println("went on:", errno)
	},
	"memory areas used up":                 func() { useUpAreas(way{kind: Mprotect}) },
	"memory areas used up, shared":         func() { useUpAreas(way{Mprotect, true}) },
	"memory areas used up by others":       touchAtTheLimit,
	"guard moves at the limit":             guardAtTheLimit,
	"neighbours at the limit":              neighboursAtTheLimit,
	"protection refused":                   noProtection,
	"foreign handler in front":             foreignHandler,
	"signals taken by os/signal":           notified,
	"table full":                           tableFull,
	"system calls refused":                 refused,
	"no privileges":                        unprivileged,
	"no page tables, memory areas used up": func() { noPagemap = true; useUpAreas(way{kind: Mprotect}) },
}

func must(err error) {
	if err != nil {
		fmt.Println("child:", err)
		os.Exit(99)
	}
}

func TestMain(m *testing.M) {
	name, with, _ := strings.Cut(os.Getenv(childEnv), "|")
	if name == "" {
		os.Exit(m.Run())
	}
	debug.SetTraceback("single")
	if f := lonely[name]; f != nil {
		f()
		os.Exit(0)
	}
	var e *engine
	if with == "arena" {
		e = child(way{kind: Mprotect}, arenaPages, true)
		e.store(1, 150)
	}
	deeds[name](e)
	os.Exit(0)
}

// child opens an arena in a child process.
func child(w way, pages int, guarded bool) *engine {
	dir, err := os.MkdirTemp(os.Getenv("TMPDIR"), "child")
	must(err)
	e, err := buildEngine(dir, w, pages, min(imagePages, pages), guarded)
	must(err)
	must(os.RemoveAll(dir))
	e.t = dying{}
	if guarded {
		must(e.SetWatermarks(imagePages*PageSize, pages*PageSize))
		must(e.Ward())
	}
	return e
}

// dying is the testing.TB of a child: what fails there ends it.
type dying struct{ testing.TB }

func (dying) Helper()       {}
func (dying) Failed() bool  { return false }
func (dying) Skipped() bool { return false }
func (dying) Fatalf(format string, args ...any) {
	must(fmt.Errorf(format, args...))
}
func (dying) Fatal(args ...any) { must(errors.New(fmt.Sprint(args...))) }

// run runs a child and returns its output and its end.
func run(t *testing.T, deed string) (stdout, stderr string, state *os.ProcessState) {
	t.Helper()
	argv := append(strings.Fields(os.Getenv(runnerEnv)), os.Args[0])
	// A child that hangs is a failure too; the time is only there to see it.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+deed, "TMPDIR="+t.TempDir(), "GOTRACEBACK=single")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState
}

var (
	numbers = regexp.MustCompile(`0x[0-9a-f]+|goroutine \d+( gp=)?|\d{5,}`)
	head    = 2 // lines of a crash that say what happened
)

// lines returns what a crash says first, without addresses.
func lines(stderr string) string {
	all := strings.SplitN(stderr, "\n", head+1)
	return numbers.ReplaceAllString(strings.Join(all[:min(head, len(all))], "\n"), "N")
}

// TestOtherFaultsAreAsWithoutUs does each deed in a process without and in one
// with an arena: both must say and end the same.
func TestOtherFaultsAreAsWithoutUs(t *testing.T) {
	for name := range deeds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out1, err1, state1 := run(t, name)
			out2, err2, state2 := run(t, name+"|arena")
			if state1.String() != state2.String() || out1 != out2 || lines(err1) != lines(err2) {
				t.Fatalf("without an arena: %v\n%s%s\nwith an arena: %v\n%s%s", state1, out1, lines(err1), state2, out2, lines(err2))
			}
			if strings.Contains(out1, "child:") || out1 == "" && err1 == "" && state1.Success() {
				t.Fatalf("the child did nothing: %s", out1)
			}
		})
	}
}

// TestEndsTheProcess: faults in the arena that nobody can resolve go to Go.
func TestEndsTheProcess(t *testing.T) {
	for _, name := range []string{
		"jump into the arena", "guard page without Do", "guard page in another goroutine", "signal forged with an address",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, stderr, state := run(t, name)
			if state.ExitCode() != 2 || !strings.Contains(stderr, "unexpected fault address") && !strings.Contains(stderr, "SIGSEGV: segmentation violation") {
				t.Fatalf("%v\n%s\n%s", state, out, stderr)
			}
		})
	}
}

// TestInChildren runs what would disturb the other tests of this process.
func TestInChildren(t *testing.T) {
	for name := range lonely {
		if name == "jump into the arena" || strings.HasPrefix(name, "guard page ") || strings.HasPrefix(name, "signal forged") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			out, stderr, state := run(t, name)
			if !state.Success() || !strings.HasSuffix(out, "ok\n") {
				t.Fatalf("%v\n%s\n%s", state, out, stderr)
			}
		})
	}
}

func ok() { fmt.Println("ok") }

// TestProfile: stores go on while a profile interrupts them.
func TestProfile(t *testing.T) {
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		t.Skipf("not run: %v", err)
	}
	defer pprof.StopCPUProfile()
	storm := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(storm)
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	defer signal.Stop(usr1)
	wg.Go(func() {
		for {
			select {
			case <-storm:
				return
			default:
				_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
			}
		}
	})
	rounds := rounds(40)
	forEachWay(t, func(t *testing.T, w way) {
		e := newEngine(t, w, arenaPages, imagePages, false)
		for range rounds {
			e.store(span(0, arenaPages)...)
			mustBe(t, "all", e.checkpoint(arenaPages), span(0, arenaPages)...)
		}
	})
}

// TestRefusedProtection: a page that can not be opened, here a shared mapping
// of a file that is open for reading, is Go's business, with the true address.
func TestRefusedProtection(t *testing.T) {
	e := newEngine(t, way{kind: Mprotect}, arenaPages, imagePages, false)
	f, err := os.Open(e.image.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := e.region.MapFile(5*PageSize, PageSize, mapping.Read, f.Fd(), 5*PageSize, true); err != nil {
		t.Fatal(err)
	}
	err = mapping.Guarded(e.mem, func() error { e.bytes(5)[77] = 1; return nil })
	if fe, ok := errors.AsType[*mapping.FaultError](err); !ok || fe.Offset != 5*PageSize+77 {
		t.Fatalf("%v", err)
	}
	if err := e.region.MapFile(5*PageSize, PageSize, mapping.ReadWrite, e.image.Fd(), 5*PageSize, false); err != nil {
		t.Fatal(err)
	}
}

func notified() {
	e := child(way{kind: Mprotect}, arenaPages, true)
	check := func() {
		e.store(5, 120)
		mustBe(e.t, "stored", e.checkpoint(arenaPages), 5, 120)
	}
	c := make(chan os.Signal, 10)
	for _, f := range []func(){
		func() { signal.Notify(c, syscall.SIGSEGV) },
		func() { signal.Notify(c) },
		func() { signal.Stop(c) },
		func() { signal.Ignore(syscall.SIGSEGV) },
		func() { signal.Reset(syscall.SIGSEGV) },
		func() { signal.Reset() },
	} {
		f()
		check()
	}
	must(e.Arena.Close())
	_, err := Open(Config{Kind: Mprotect, Region: e.region, Reference: e})
	must(err) // it is still our handler that is installed
	ok()
}

// action is the kernel's struct: handler, flags, restorer, mask.
type action [4]uintptr

func sigaction(set, old *action) {
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(set[3]), 0, 0)
	if errno != 0 {
		must(errno)
	}
}

// foreignHandler puts another action in front, as a C library would.
func foreignHandler() {
	// Where it can not be refused it is not there: under an emulator.
	_ = refuse(unix.SYS_USERFAULTFD, 0, syscall.EPERM)
	child(way{kind: Mprotect}, arenaPages, false)
	var now action
	sigaction(nil, &now)
	foreign := now
	foreign[0] = goHandler
	sigaction(&foreign, nil)
	_, err := buildEngine(os.TempDir(), way{kind: Mprotect}, 4, 0, false)
	if !errors.Is(err, ErrForeignHandler) {
		must(fmt.Errorf("second arena: %v", err))
	}
	_, err = buildEngine(os.TempDir(), way{kind: Auto}, 4, 0, true)
	if !errors.Is(err, ErrForeignHandler) {
		must(fmt.Errorf("guard: %v", err))
	}
	e, err := buildEngine(os.TempDir(), way{kind: Auto}, 4, 0, false)
	must(err)
	if e.Kind() == Mprotect || !strings.Contains(e.Reason(), ErrForeignHandler.Error()) {
		must(fmt.Errorf("auto took %s because %s", e.Kind(), e.Reason()))
	}
	sigaction(nil, &foreign)
	if foreign[0] != goHandler {
		must(errors.New("the handler was installed again"))
	}
	sigaction(&now, nil)
	_, err = buildEngine(os.TempDir(), way{kind: Mprotect}, 4, 0, false)
	must(err)
	ok()
}

func tableFull() {
	var all []*engine
	for range maxArenas {
		all = append(all, child(way{kind: Mprotect}, 4, false))
	}
	_, err := buildEngine(os.TempDir(), way{kind: Mprotect}, 4, 0, false)
	if !errors.Is(err, ErrTooManyArenas) {
		must(fmt.Errorf("one arena more: %v", err))
	}
	for i, e := range all {
		e.store(i % 4)
	}
	for i, e := range all {
		mustBe(e.t, "arena", e.checkpoint(4), i%4)
	}
	must(all[7].Arena.Close())
	child(way{kind: Mprotect}, 4, false)
	ok()
}
