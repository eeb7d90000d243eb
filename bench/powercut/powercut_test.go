package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How a child of the tests behaves, beside answering.
const behaviour = "POWERCUT_TEST_CHILD"

func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{childArgument}) {
		switch os.Getenv(behaviour) {
		case "silent":
			time.Sleep(time.Hour)
		case "dies":
			os.Exit(3)
		}
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// A process that does not answer is ended, and one that dies is told from one
// that was killed; an examined store is unavailable then.
func TestFates(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	dir := t.TempDir()
	for _, c := range []struct {
		behaviour string
		want      fate
		patience  time.Duration
		kill      bool
		finding   string
	}{
		{"", answered, time.Minute, false, "unavailable: there is no driver \"none\""},
		{"silent", silent, time.Millisecond, false, "unavailable: no answer in 1ms"},
		{"silent", killed, time.Minute, true, ""},
		{"dies", died, time.Minute, false, "unavailable: the process that opened it died: "},
	} {
		t.Setenv(behaviour, c.behaviour)
		patience = c.patience
		var started func(*child)
		if c.kill {
			started = (*child).kill
		}
		if _, got, err := once(t.Context(), job{Store: "none", Dir: dir}, started); got != c.want || err != nil {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
		if c.finding == "" {
			continue
		}
		k := &checker{}
		f := k.examine(t.Context(), driver{name: "none"}, dir, newLedger(driver{}))
		k.close()
		if f == nil || !strings.HasPrefix(f.Error(), c.finding) {
			t.Errorf("%+v: %v", c, f)
		}
	}
	// The rig that ends does not wait for its processes.
	t.Setenv(behaviour, "silent")
	patience = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	if _, _, err := once(ctx, job{}, func(*child) { cancel() }); err == nil {
		t.Error("no error of a rig that ends")
	}
}

// What becomes of a process is a finding, unless the scene explains it.
func TestSeen(t *testing.T) {
	for _, c := range []struct {
		a    answer
		end  fate
		s    scene
		want outcome
	}{
		{answer{}, answered, plainCut, whole},
		{answer{}, killed, killCut, whole},
		{answer{}, silent, killCut, unavailable},
		{answer{}, killed, plainCut, unavailable},
		{answer{}, died, plainCut, unavailable},
		{answer{}, died, failCut, whole},
		{answer{}, silent, failCut, whole},
		{answer{What: unavailable}, answered, failCut, whole},
		{answer{What: torn}, answered, failCut, torn},
		{answer{Stopped: true}, answered, failCut, whole},
		{answer{Stopped: true}, answered, plainCut, saveFails},
	} {
		got := whole
		if f := seen(c.a, c.end, c.s); f != nil {
			got = f.what
		}
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestCloseOnExec(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	closeOnExec(f.Name())
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
}

// A command line by which nothing would be tried is refused, and does not look
// like a run without a violation.
func TestNothingToTry(t *testing.T) {
	for _, line := range []string{"-states 0", "-each 0", "-each -1", "-fs ext5", "-fs ext4,xsf", "-peers -stores bolt"} {
		var out bytes.Buffer
		if code := run(strings.Fields(line), nil, &out); code != usage {
			t.Errorf("%s: exit code %d, %s", line, code, &out)
		}
	}
	c := &campaign{states: 1, each: 1}
	if err := c.validate("ext4,btrfs", "loom,bbolt"); err != nil {
		t.Error(err)
	}
}

// There are no fewer states than asked for.
func TestShare(t *testing.T) {
	for states, want := range map[int]int{1: 1, 1998: 333, 2000: 334} {
		if got := (&campaign{states: states}).share(6); got != want {
			t.Errorf("%d states: %d for each of six, want %d", states, got, want)
		}
	}
}

// What was counted is not lost with a run that dies while it writes: the file
// is replaced, not written over.
func TestProgress(t *testing.T) {
	c := &campaign{seed: 3, progress: filepath.Join(t.TempDir(), "progress")}
	f, d := filesystem{name: "fs"}, driver{name: "store"}
	enter := func() {
		t.Helper()
		if err := errors.Join(c.load(), c.enter(c.at(f, d), plainCut, tally{whole: 2}, time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	enter()
	before, err := os.Open(c.progress)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	held, err := io.ReadAll(before)
	if err != nil {
		t.Fatal(err)
	}
	enter()
	if _, err := before.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if still, err := io.ReadAll(before); err != nil || !bytes.Equal(still, held) {
		t.Errorf("%v, the old file now holds %s", err, still)
	}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	if p := c.at(f, d); p.Next != 5 || p.total() != (tally{whole: 4}) || p.Seconds != 2 {
		t.Errorf("goes on from %+v", p)
	}
}

// The tables are written anew, and what was written below by hand stays.
func TestDocument(t *testing.T) {
	c := &campaign{write: filepath.Join(t.TempDir(), "doc.md"), done: map[string]*progress{}, controls: []string{"red"}}
	f, d := filesystem{name: "fs"}, driver{name: "store", about: "what it is"}
	c.at(f, d).Scenes = [scenes]tally{{whole: 5, torn: 1}, {whole: 7, lost: 2}, {whole: 9, unavailable: 3, saveFails: 4, unmountable: 5}}
	for i := range 2 {
		if err := c.document([]filesystem{f}, []driver{d}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(c.write)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"| store | 6 | 1 | 0 | 0 | 9 | 0 | 2 | 0 | 16 | 0 | 0 | 7 |\n", "| store | fs | 6, 1 bad | 9, 2 bad | 21, 12 bad | 1 | 2 | 3 | 4 | 5 |\n",
			"- store: what it is.\n", "- red.\n"} {
			if strings.Count(string(b), want) != 1 {
				t.Errorf("not once %q in\n%s", want, b)
			}
		}
		if byHand := discussion + "by hand\n"; i == 0 {
			if err := os.WriteFile(c.write, append(b, byHand...), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if !strings.HasSuffix(string(b), byHand) {
			t.Errorf("what was written by hand is gone:\n%s", b)
		}
	}
}

func block(off int64, b byte, sectors int) event {
	data := bytes.Repeat([]byte{b}, sectors*sectorSize)
	return event{kind: written, off: off, n: int64(len(data)), data: data}
}

// letters is a disk's first sectors, one letter each, a dot for zeros.
func letters(c content, below content, sectors int) string {
	d := &disk{size: int64(sectors) * sectorSize, base: below, over: c}
	p := make([]byte, d.size)
	if n, errno := d.read(p, 0); n != len(p) || errno != 0 {
		return "unreadable"
	}
	var s []byte
	for i := 0; i < len(p); i += sectorSize {
		b := p[i]
		if bytes.Count(p[i:i+sectorSize], []byte{b}) != sectorSize {
			b = '?'
		}
		if b == 0 {
			b = '.'
		}
		s = append(s, b)
	}
	return string(s)
}

func TestContent(t *testing.T) {
	base := content{}
	base.write(block(0, 'a', 16), nil)
	over := content{}
	over.write(block(3*sectorSize, 'b', 8), base)
	over.write(event{kind: written, off: 10 * sectorSize, n: 2 * sectorSize}, base)
	over.write(event{kind: written, off: 16 * sectorSize, n: blockSize}, base)
	if got := letters(over, base, 24); got != "aaabbbbbbb..aaaa........" {
		t.Errorf("over the base: %s", got)
	}
	if got := letters(content{}, base, 16); got != "aaaaaaaaaaaaaaaa" {
		t.Errorf("the base has changed: %s", got)
	}
}

// What a disk logs, what it refuses, and what a recording begins with.
func TestDisk(t *testing.T) {
	d := newDisk(1<<20, content{})
	d.write(block(0, 'a', 1))
	base := d.record()
	var seen []int
	d.inject(func(n int) { seen = append(seen, n) }, func(e event) ([]event, bool) { return []event{e.part(0, 1)}, e.off == 0 }, nil)
	if errno := d.write(block(0, 'b', 2)); errno == 0 {
		t.Error("the fault did not fail")
	}
	d.write(block(4*sectorSize, 'c', 1))
	d.flush()
	d.mark(mark{Kind: "ack"})
	if errno := d.write(block(1<<20, 'd', 1)); errno == 0 {
		t.Error("wrote behind the end")
	}
	var kinds []kind
	for _, e := range d.stop() {
		kinds = append(kinds, e.kind)
	}
	if !slices.Equal(kinds, []kind{refused, written, written, flushed, marked}) || len(seen) != 5 {
		t.Errorf("logged %v, told of %v", kinds, seen)
	}
	if got := letters(base, nil, 2); got != "a." {
		t.Errorf("the recording begins with %s", got)
	}
	if got := letters(d.over, d.base, 5); got != "b...c" {
		t.Errorf("the disk holds %s", got)
	}
}

func TestReplay(t *testing.T) {
	log := []event{block(0, 'a', 1), block(512, 'b', 1), {kind: flushed}, {kind: marked, mark: mark{Kind: "begin", Change: change{Pages: 1, Dirty: []int{0}}}},
		{kind: refused, off: 0, n: 512}, block(1024, 'c', 1), {kind: marked, mark: mark{Kind: "ack"}}}
	r := &replay{log: log, durable: content{}, ledger: newLedger(driver{})}
	for _, step := range []struct {
		pos     int
		durable string
		pending int
		acked   uint64
	}{{1, "...", 1, 0}, {2, "...", 2, 0}, {3, "ab.", 0, 0}, {6, "ab.", 1, 0}, {7, "ab.", 1, 1}} {
		r.to(step.pos)
		if got := letters(r.durable, nil, 3); got != step.durable || len(r.pending) != step.pending || r.ledger.Acked != step.acked {
			t.Errorf("behind %d: %s, %d pending, %d acknowledged", step.pos, got, len(r.pending), r.ledger.Acked)
		}
	}
}

// Every kept part is a legal one, and every kind of part turns up.
func TestPieces(t *testing.T) {
	pending := []event{block(0, 'a', 4), block(2*sectorSize, 'b', 4), block(8*sectorSize, 'c', 4)}
	whole := func(e event) bool { return e.off == 8*sectorSize }
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[keep]map[string]bool{}
	for range 2000 {
		for k := range keeps {
			c := content{}
			for _, e := range pieces(rng, pending, k, whole) {
				c.write(e, nil)
			}
			got := letters(c, nil, 12)
			if w := got[8:]; w != "...." && w != "cccc" {
				t.Fatalf("%v tore a write that is whole: %s", k, got)
			}
			if seen[k] == nil {
				seen[k] = map[string]bool{}
			}
			seen[k][got] = true
		}
	}
	for k, want := range map[keep][]string{
		keepAll: {"aabbbb..cccc"}, keepNone: {"............"}, keepLast: {"........cccc"}, tearLast: {"............", "aabbbb......"},
	} {
		if len(seen[k]) != len(want) {
			t.Errorf("%v made %v, want %v", k, seen[k], want)
		}
		for _, w := range want {
			if !seen[k][w] {
				t.Errorf("%v never made %s", k, w)
			}
		}
	}
	sectors := false
	for state := range seen[keep80] {
		sectors = sectors || strings.Contains(state, "b.b")
	}
	if !sectors {
		t.Error("no write lost a sector in its middle")
	}
	for _, k := range []keep{keep20, keep50, keep80} {
		for _, some := range []string{"aabbbb..cccc", "aaaa........", "..bbbb......", "aaaa....cccc", "aa.........."} {
			if !seen[k][some] {
				t.Errorf("%v never made %s", k, some)
			}
		}
	}
}

// Cuts come in order, never more than asked for, with what was flushed once for
// each promise.
func TestCuts(t *testing.T) {
	log := []event{block(0, 'a', 1), block(0, 'b', 1), {kind: flushed}, block(0, 'c', 1), {kind: marked}, {kind: flushed}, {kind: marked}}
	all := cuts(rand.New(rand.NewPCG(1, 2)), log, 1000)
	none := 0
	for i, c := range all {
		if i > 0 && c.pos < all[i-1].pos {
			t.Fatal("out of order")
		}
		if c.keep == keepNone {
			none++
		}
	}
	// Behind a, c, and both marks.
	if none != 4 {
		t.Errorf("%d cuts keep nothing: %v", none, all)
	}
	if n := len(cuts(rand.New(rand.NewPCG(1, 2)), log, 3)); n != 3 {
		t.Errorf("%d cuts of a budget of 3", n)
	}
}

// The ledger knows what a restart puts an end to.
func TestLedger(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		l := newLedger(driver{sealed: sealed})
		l.apply(mark{Kind: "open"})
		for range 3 {
			l.apply(mark{Kind: "begin", Change: change{Pages: 2, Dirty: []int{1}}})
			if l.Begun == 1 {
				l.apply(mark{Kind: "ack"})
			}
		}
		l.apply(mark{Kind: "open", Epoch: 2})
		want := uint64(1)
		if sealed {
			want = 2
		}
		if l.Acked != want || l.Begun != 2 || len(l.States) != 3 || l.Life != 2 {
			t.Errorf("sealed %v: %+v", sealed, l)
		}
	}
}

func TestFillDiffers(t *testing.T) {
	seen := map[string]bool{}
	for key := range uint64(8) {
		for page := range 8 {
			p := make([]byte, pageSize)
			fill(p, key, page)
			if key > 0 && (seen[string(p)] || !holdsPages(event{data: p[:512]})) {
				t.Errorf("attempt %d of page %d is not its own", key, page)
			}
			seen[string(p)] = true
		}
	}
}
