package inject

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fault is what strace makes of a call: error=E, retval=0 (a short read or
// write that did nothing), or signal=SIGKILL before it.
type fault string

const kill fault = "signal=SIGKILL"

// faults are the errors that a call may return, and do not end it for good.
var faults = []struct {
	call   string
	faults []fault
}{
	{"openat", []fault{"error=EMFILE", "error=ENFILE", "error=EACCES", "error=EIO", "error=ENOSPC"}},
	{"newfstatat", []fault{"error=EACCES", "error=EIO"}},
	{"fstat", []fault{"error=EIO"}},
	{"pread64", []fault{"error=EIO", "error=EINTR", "retval=0"}},
	{"pwrite64", []fault{"error=EIO", "error=ENOSPC", "error=EDQUOT", "error=EINTR", "retval=0"}},
	{"fdatasync", []fault{"error=EIO", "error=ENOSPC", "error=EDQUOT"}},
	{"fsync", []fault{"error=EIO", "error=ENOSPC"}},
	{"ftruncate", []fault{"error=EIO", "error=EINTR", "error=EPERM"}},
	{"fallocate", []fault{"error=EOPNOTSUPP", "error=ENOSPC", "error=EDQUOT", "error=EIO", "error=EINTR"}},
	{"sync_file_range", []fault{"error=EIO", "error=ESPIPE"}},
	{"fcntl", []fault{"error=EAGAIN", "error=ENOLCK", "error=EINTR", "error=EIO"}},
	{"mmap", []fault{"error=ENOMEM", "error=EACCES"}},
	{"mkdirat", []fault{"error=EIO", "error=ENOSPC", "error=EACCES"}},
	{"renameat", []fault{"error=EIO", "error=ENOSPC", "error=EACCES"}},
	{"unlinkat", []fault{"error=EIO", "error=EACCES"}},
	{"ioctl", []fault{"error=EIO", "error=ENOSPC", "error=EOPNOTSUPP"}},
	{"getdents64", []fault{"error=EIO"}},
	{"close", []fault{"error=EIO"}},
}

// deadly are the calls before which a process is killed.
var deadly = []string{"openat", "pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate", "fcntl", "mmap", "mkdirat", "renameat", "unlinkat", "pread64"}

// namedCalls are made for files of a store, and nothing else.
var namedCalls = []string{"pwrite64", "pread64", "fdatasync", "fsync", "ftruncate", "fallocate", "sync_file_range", "mkdirat", "renameat", "unlinkat", "ioctl"}

// followed are the calls that the judge needs.
const followed = "fallocate,pwrite64,ftruncate,fdatasync,write,renameat,unlinkat"

// act is a command that works on a store.
type act struct {
	name    string
	start   string // directory that is copied to begin with; "" is none
	args    func(dir string) []string
	stdin   string
	copies  bool // beside the store
	imports bool // vere's directory
	lies    bool // writes are swallowed, and nothing else goes wrong
	memory  bool // protections are refused, and nothing else goes wrong
	// check opens what the run left behind, without injection, and says what
	// the outcome was.
	check func(dir string, o outcome, injected []call) (verdict string, err error)
}

// cell is one row of the report: an act and a fault, at every index.
type cell struct {
	act   *act
	call  string
	fault fault
	only  string // the file whose calls are meant; "" for every one
}

func (c cell) String() string { return fmt.Sprintf("%s %s %s:%s", c.act.name, c.call, c.only, c.fault) }

// tally counts what became of the injections of each cell.
type tally struct {
	mu    sync.Mutex
	cells map[cell]map[string]int
	total int
}

func (y *tally) add(c cell, verdict string, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.cells == nil {
		y.cells = map[cell]map[string]int{}
	}
	if y.cells[c] == nil {
		y.cells[c] = map[string]int{}
	}
	y.cells[c][verdict] += n
	y.total += n
}

// count is how many injections had the verdict.
func (y *tally) count(verdict string) (n int) {
	for _, v := range y.cells {
		n += v[verdict]
	}
	return n
}

// rig runs acts with injections.
type rig struct {
	env     []string
	scratch string
	loomctl string
	serial  int
	mu      sync.Mutex
}

// once runs the act with the fault at index n of the call, and with a death
// behind it if there is one, and judges what comes of it. It returns how many
// injections there were. strace counts the calls of each thread by itself, so
// there may be more than one; each call is index n of its thread in some run.
func (r *rig) once(y *tally, c cell, n int, death ...string) (int, error) {
	r.mu.Lock()
	r.serial++
	work := filepath.Join(r.scratch, fmt.Sprint(r.serial))
	r.mu.Unlock()
	base, aside := filepath.Join(work, "base"), filepath.Join(work, "aside")
	for _, d := range []string{work, base, aside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return 0, err
		}
	}
	defer os.RemoveAll(work)
	dir := filepath.Join(base, "store")
	if c.act.start != "" {
		if err := copyFiles(c.act.start, dir); err != nil {
			return 0, err
		}
	}
	stdout := filepath.Join(aside, "stdout")
	trace := followed
	if !slices.Contains(strings.Split(followed, ","), c.call) {
		trace += "," + c.call
	}
	for _, d := range death {
		trace += "," + strings.Split(d, ":")[0]
	}
	options := []string{"-s", "0", "-e", "trace=" + trace, "-e", fmt.Sprintf("inject=%s:%s:when=%d", c.call, c.fault, n)}
	// strace 6.1 does not send its signals under --seccomp-bpf, which is faster.
	if c.fault != kill && len(death) == 0 {
		options = append(options, "--seccomp-bpf")
	}
	for _, d := range death {
		options = append(options, "-e", "inject="+d)
	}
	// What package os and the runtime do with other files is no business of
	// ours; but the name of a partial copy is not known beforehand.
	if !c.act.memory && (!c.act.copies || !slices.Contains(namedCalls, c.call)) {
		paths := []string{base, dir, dir + "/lock", dir + "/control.bin", dir + "/memory.bin", dir + "/image.bin", dir + "/sums.bin",
			dir + "/control.bin.fresh", dir + "/memory.bin.fresh", dir + "/control.bin.applied", dir + "/memory.bin.applied", dir + "/.urb"}
		if c.only != "" {
			paths = []string{filepath.Join(dir, c.only)}
		} else if c.call != "fcntl" && c.call != "fstat" && c.call != "close" {
			paths = append(paths, stdout) // which the runtime looks at
		}
		for _, p := range paths {
			options = append(options, "-P", p)
		}
	}
	o, err := traced(aside, options, r.env, c.act.stdin, append([]string{r.loomctl}, c.act.args(dir)...)...)
	if err != nil {
		return 0, err
	}
	var injected []call
	j := newJudge(dir, stdout)
	j.imports = c.act.imports
	for _, call := range o.calls {
		if call.injected && (c.act.memory || strings.Contains(call.text, work)) {
			injected = append(injected, call)
		}
		if strings.Contains(call.text, work) {
			j.follow(call)
		}
	}
	if o.code == 0 && !o.killed {
		j.ended()
	}
	count := len(injected)
	if o.killed {
		count++
	}
	if c.act.memory && slices.ContainsFunc(injected, func(c call) bool { return strings.Contains(c.text, "PROT_EXEC") }) {
		return count, nil // what the compiler of WebAssembly does without it is its own affair
	}
	verdict, err := c.act.check(dir, o, injected)
	if err == nil && len(j.errs) > 0 && !c.act.lies {
		err = fmt.Errorf("%s", strings.Join(j.errs, "\n"))
	}
	if err != nil {
		var list []string
		for _, i := range injected {
			list = append(list, i.text)
		}
		return count, fmt.Errorf("%v when=%d %v: %w\ninjected: %s\nexit %d, killed %v, stdout %q\n%s", c, n, death, err, strings.Join(list, "\n"), o.code, o.killed, o.out, o.err)
	}
	if count > 0 {
		y.add(c, verdict, count)
	}
	return count, nil
}

// sweep raises the index until there is nothing left to inject into. One run
// without an injection may be a matter of threads, two in a row are not.
func (r *rig) sweep(y *tally, c cell) error {
	for n, none := 1, 0; none < 2; n++ {
		count, err := r.once(y, c, n)
		if err != nil {
			return err
		}
		if none++; count > 0 {
			none = 0
		}
	}
	return nil
}

// parallel calls do for each item on two goroutines.
func parallel[T any](items []T, do func(T)) {
	var wg sync.WaitGroup
	queue := make(chan T)
	for range 2 {
		wg.Go(func() {
			for item := range queue {
				do(item)
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	wg.Wait()
}

// report writes the table of a full run.
func (y *tally) report(name, figures string) error {
	var b strings.Builder
	b.WriteString("# Injected errors and kills\n\nWritten by `make crash-inject`. " + figures + "\n\n" +
		"Outcomes: *mended*, nothing was lost and nobody had to be told; *noted*, a checkpoint failed, the run said so and saved it with the next;\n" +
		"*reported*, the command failed with the exit code of the class; *in doubt*, the record may be durable, and was (new state) or was not (old);\n" +
		"*damage found* and *exact*, of writes that the kernel swallowed. Behind each the store opened in the state it had to be in.\n\n" +
		"| start, command | call | fault | injections | outcomes |\n|---|---|---|---|---|\n")
	var keys []cell
	for c := range y.cells {
		keys = append(keys, c)
	}
	slices.SortFunc(keys, func(a, b cell) int { return strings.Compare(a.String(), b.String()) })
	for _, c := range keys {
		n := 0
		var verdicts []string
		for v, k := range y.cells[c] {
			n += k
			verdicts = append(verdicts, fmt.Sprintf("%s %d", v, k))
		}
		slices.Sort(verdicts)
		f := strings.NewReplacer("error=", "", "retval=0", "does nothing", "retval=", "swallows ", "signal=", "").Replace(string(c.fault))
		call := c.call
		if c.only != "" {
			call += " of " + c.only
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %s |\n", c.act.name, call, f, n, strings.Join(verdicts, ", "))
	}
	return os.WriteFile(name, []byte(b.String()), 0o644)
}

func (y *tally) log(t *testing.T) {
	t.Helper()
	verdicts := map[string]int{}
	for _, v := range y.cells {
		for name, n := range v {
			verdicts[name] += n
		}
	}
	t.Logf("%d injections: %v", y.total, verdicts)
}
