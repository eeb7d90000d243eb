package command

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inNamespace runs a shell script in a mount namespace of its own, in which it
// may mount and which ends with it; "$LOOMCTL" in it is loomctl. Where that is
// not allowed the test says so and is skipped.
func inNamespace(t *testing.T, dir, script string) result {
	t.Helper()
	unshare := []string{"unshare", "--mount", "--map-root-user"}
	if os.Geteuid() == 0 {
		unshare = unshare[:2]
	}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "mount", "-t", "tmpfs", "none", t.TempDir())...).CombinedOutput(); err != nil {
		t.Skipf("not run: it needs a mount, which is not allowed here (%v: %s)", err, out)
	}
	c := exec.Command(unshare[0], append(unshare[1:], "sh", "-euc", script)...)
	c.Dir = dir
	c.Env = append(childEnviron(), "LOOMCTL="+os.Args[0])
	return runChild(t, c)
}

// A read-only file system: a store on it can be looked at and copied, and
// nothing else.
func TestReadOnlyFileSystem(t *testing.T) {
	for _, pending := range []bool{false, true} {
		dir := newStore(t, pending)
		base := filepath.Dir(dir)
		before := tree(t, base)
		readOnly := "mount --bind . .; mount -o remount,bind,ro .; cd ..; cd " + filepath.Base(base) + "; exec \"$LOOMCTL\" "
		for _, args := range []string{"info store", "verify store", "verify --quick store", "patch store", "recover --dry-run store"} {
			inNamespace(t, base, readOnly+args).wants(t, ExitOK)
		}
		inNamespace(t, base, readOnly+"backup store "+filepath.Join(t.TempDir(), "copy")).wants(t, ExitOK)
		for _, args := range []string{"recover store", "backup store copy", "restore store new/copy", "export --vere store pier"} {
			if r := inNamespace(t, base, readOnly+args).wants(t, ExitFailure); !strings.Contains(r.stderr, "read-only file system") {
				t.Errorf("%s: %s", args, r.stderr)
			}
		}
		unchanged(t, "a read-only file system", base, before)
	}
}

// A full disk: exit 13, with what was needed and what there is.
func TestCopyToFullDisk(t *testing.T) {
	dir := newStore(t, false)
	before := tree(t, dir)
	const small = "mount -t tmpfs -o size=48k none small; "
	if err := os.Mkdir(filepath.Join(filepath.Dir(dir), "small"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"backup", "restore", "export --vere"} {
		r := inNamespace(t, filepath.Dir(dir), small+"\"$LOOMCTL\" "+command+" --json store small/new/copy || code=$?; [ ! -e small/new ]; exit $code").wants(t, ExitNoSpace)
		var f struct {
			Code      string
			Needed    int64
			Available *int64
		}
		if err := json.Unmarshal([]byte(r.out), &f); err != nil {
			t.Fatalf("%v: %s", err, r.out)
		}
		if f.Code != "no_space" || f.Needed != 4*16384 || f.Available == nil || *f.Available > 48<<10 {
			t.Errorf("%s: %s", command, r.out)
		}
		if !strings.Contains(r.stderr, "65536 bytes") || !strings.Contains(r.stderr, "available") {
			t.Errorf("%s: %s", command, r.stderr)
		}
	}
	unchanged(t, "a full disk", dir, before)
}

// Rings for which there is no room, new ones and a file with holes.
func TestRingsOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "small"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"", "truncate -s 139264 small/rings; "} {
		r := inNamespace(t, dir, "mount -t tmpfs -o size=48k none small; "+before+
			`exec "$LOOMCTL" vmbus produce --json --ring-size 65536 --packets 200 --timeout 1ms small/rings`).wants(t, ExitNoSpace)
		if !strings.Contains(r.out, `"no_space"`) || !strings.Contains(r.stderr, "reserve 139264 bytes: no space left") {
			t.Errorf("%q: stdout %s, stderr %s", before, r.out, r.stderr)
		}
	}
}

// No permission is an error, and not an absent store.
func TestNoPermission(t *testing.T) {
	dir := newStore(t, false)
	c := child("recover", dir)
	if os.Geteuid() == 0 {
		// The kernel lets root read everything: be nobody. The way to the
		// test binary may be closed to nobody, its inode is not.
		c.Path = "/proc/self/exe"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else if err := os.Chmod(filepath.Dir(dir), 0); err != nil {
		t.Fatal(err)
	}
	r := runChild(t, c)
	if os.Geteuid() != 0 {
		if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if r.wants(t, ExitFailure); !strings.Contains(r.stderr, "permission denied") {
		t.Error(r.stderr)
	}
}

// SIGINT ends a backup with 130, and nothing of it is left.
func TestInterrupted(t *testing.T) {
	dir := newStore(t, false)
	// The backup waits for an apply that does not end.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	applying := syscall.Flock_t{Type: syscall.F_WRLCK, Start: 1, Len: 1}
	const setOFDLock = 37
	if err := syscall.FcntlFlock(lock.Fd(), setOFDLock, &applying); err != nil {
		t.Fatal(err)
	}
	before := tree(t, filepath.Dir(dir))
	c := child("backup", "--json", dir, dir+"-copy")
	var out, stderr strings.Builder
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// It is at work, and listens to signals, once the partial copy is there.
	for {
		if names, err := filepath.Glob(dir + "-copy.partial-*"); err != nil {
			t.Fatal(err)
		} else if len(names) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	result{c.ProcessState.ExitCode(), out.String(), stderr.String()}.wants(t, ExitInterrupted)
	if !strings.Contains(out.String(), `"code": "interrupted"`) || stderr.String() != "loomctl: interrupted\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), stderr.String())
	}
	unchanged(t, "an interrupted backup", filepath.Dir(dir), before)
}
