package inject

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What threads that wait leave in a trace, beside a call that counts.
func TestParseTrace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	err := os.WriteFile(file, []byte(`10 futex(0x1, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
11 fdatasync(7</store/control.bin> <unfinished ...>
12 futex(0x2, FUTEX_WAIT_PRIVATE, 0, {tv_sec=0, tv_nsec=5} <unfinished ...>
11 <... fdatasync resumed>)              = -1 EIO (Input/output error) (INJECTED)
12 <... futex resumed>)                  = ? ERESTART_RESTARTBLOCK (Interrupted by signal)
12 --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL, si_pid=10, si_uid=0} ---
12 ppoll([{fd=0, events=POLLIN}], 1, NULL, NULL, 8) = 1 ([{fd=0, revents=POLLIN}])
12 select(4, [3], [], [], NULL)           = 0 (Timeout)
12 fcntl(3</x>, F_GETFD)                  = 0x1 (flags FD_CLOEXEC)
11 exit_group(0)                         = ?
10 <... futex resumed>)                  = ? <unavailable>
10 +++ exited with 0 +++
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := parseTrace(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range calls {
		names = append(names, c.name)
	}
	if !slices.Equal(names, []string{"fdatasync", "futex", "ppoll", "select", "fcntl", "exit_group"}) {
		t.Fatalf("calls %v", names)
	}
	if c := calls[0]; c.errno != "EIO" || c.result != -1 || !c.injected || c.path(0) != "/store/control.bin" {
		t.Errorf("%+v", c)
	}
	if calls[1].errno != "ERESTART_RESTARTBLOCK" {
		t.Errorf("%+v", calls[1])
	}
}
