package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A run with --scrub says what is damaged while it runs, each page once.
func TestRunScrubs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if code, _, errs := runOnce(t, dir, "", "1\n", ""); code != ExitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	// The entry of page 3, behind two header slots: the page itself is whole.
	sums, err := os.OpenFile(filepath.Join(dir, "sums.bin"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sums.WriteAt([]byte("rot"), 2*4096+3*8); err != nil {
		t.Fatal(err)
	}
	if err := sums.Close(); err != nil {
		t.Fatal(err)
	}
	in, typing := io.Pipe()
	errs := &watched{text: "hint: ", seen: func() { typing.Close() }} // the prompt ends when it was told
	s := &streams{in: in, out: io.Discard, err: errs}
	f := runFlags{size: 64 << 20, every: 1, guest: requireGuest(t), io: ioDirect, scrub: time.Microsecond}
	if err := s.run(t.Context(), f, false, dir, ""); err != nil {
		t.Fatal(err)
	}
	if got := errs.String(); strings.Count(got, "scrub: ") != 1 || !strings.Contains(got, "image.bin: page 3: offset 49152: hash of the page") {
		t.Errorf("stderr says %q", got)
	}
}
