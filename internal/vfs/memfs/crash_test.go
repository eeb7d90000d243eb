package memfs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/internal/vfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, m *FS, name string) vfs.File {
	t.Helper()
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	return f
}

// durable returns a file system with one file, all of it synced.
func durable(t *testing.T, content string) (*FS, vfs.File) {
	t.Helper()
	m := New()
	f := open(t, m, "f")
	write(t, f, content, 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	return m, f
}

func write(t *testing.T, f vfs.File, content string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(content), off)
	must(t, err)
}

// sectors returns one sector full of each letter.
func sectors(letters string) string {
	var b strings.Builder
	for _, l := range letters {
		b.WriteString(strings.Repeat(string(l), SectorSize))
	}
	return b.String()
}

// short is the reverse: one letter for a sector, 0 for zeros, ? for a mixture.
func short(content string) string {
	var b strings.Builder
	for part := range slices.Chunk([]byte(content), SectorSize) {
		switch {
		case strings.Count(string(part), string(part[:1])) != len(part):
			b.WriteByte('?')
		case part[0] == 0:
			b.WriteByte('0')
		default:
			b.WriteByte(part[0])
		}
	}
	return b.String()
}

func read(t *testing.T, m *FS, name string) string {
	t.Helper()
	f, err := m.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	defer f.Close()
	length, _, err := f.Size()
	must(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, length))
	must(t, err)
	return string(b)
}

// state describes a whole file system.
func state(t *testing.T, m *FS, name string) string {
	t.Helper()
	list, err := m.ReadDir(name)
	must(t, err)
	var words []string
	for _, e := range list {
		path := name + "/" + e.Name()
		if e.IsDir() {
			words = append(words, e.Name()+"{"+state(t, m, path)+"}")
		} else {
			words = append(words, e.Name()+"="+short(read(t, m, path)))
		}
	}
	return strings.Join(words, " ")
}

// states returns all states that a power cut can leave, sorted.
func states(t *testing.T, m *FS, journal bool) []string {
	t.Helper()
	before := state(t, m, "")
	found := map[string]bool{}
	for decide := range All() {
		found[state(t, m.CrashClone(Crash{Decide: decide, Journal: journal}), "")] = true
	}
	if after := state(t, m, ""); after != before {
		t.Fatalf("CrashClone changed the original from %q to %q", before, after)
	}
	return slices.Sorted(func(yield func(string) bool) {
		for s := range found {
			if !yield(s) {
				return
			}
		}
	})
}

func wantStates(t *testing.T, m *FS, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, states(t, m, false)); diff != "" {
		t.Errorf("states after a power cut (-want +got):\n%s", diff)
	}
}

func wantJournalStates(t *testing.T, m *FS, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, states(t, m, true)); diff != "" {
		t.Errorf("states after a power cut with a journal (-want +got):\n%s", diff)
	}
}

func TestCrashSectors(t *testing.T) {
	m, f := durable(t, sectors("aa"))
	wantStates(t, m, "f=aa")
	write(t, f, sectors("bb"), 0)
	wantStates(t, m, "f=aa", "f=ab", "f=ba", "f=bb")
	write(t, f, sectors("c"), SectorSize)
	wantStates(t, m, "f=aa", "f=ab", "f=ba", "f=bb", "f=ac", "f=bc")
	must(t, f.Sync())
	wantStates(t, m, "f=bc")
}

// A sector holds all that the page cache held when it was written: a later
// write never arrives without an earlier one to the same sector.
func TestCrashSectorsKeepTheirOrder(t *testing.T) {
	m, f := durable(t, sectors("a"))
	write(t, f, strings.Repeat("b", SectorSize/2), 0)
	write(t, f, strings.Repeat("c", SectorSize/2), SectorSize/2)
	for decide := range All() {
		got := read(t, m.CrashClone(Crash{Decide: decide}), "f")
		if got[0] == 'a' && got[SectorSize-1] == 'c' {
			t.Error("the second write to a sector is there without the first")
		}
	}
}

func TestCrashLength(t *testing.T) {
	m, f := durable(t, sectors("a"))
	write(t, f, sectors("b"), SectorSize)
	wantStates(t, m, "f=a", "f=a0", "f=ab")
	must(t, f.Sync())

	must(t, f.Truncate(3*SectorSize))
	wantStates(t, m, "f=ab", "f=ab0")
	must(t, f.Truncate(SectorSize))
	wantStates(t, m, "f=ab", "f=ab0", "f=a")
	write(t, f, sectors("c"), SectorSize)
	wantStates(t, m, "f=ab", "f=ac", "f=ab0", "f=ac0", "f=a", "f=a0")
	must(t, f.Sync())
	wantStates(t, m, "f=ac")

	must(t, f.Truncate(0))
	must(t, f.Truncate(2*SectorSize))
	wantStates(t, m, "f=ac", "f=", "f=00")
}

// Bytes behind the end that a power cut left do not come back when the file
// grows again.
func TestCrashLengthZeroes(t *testing.T) {
	m, f := durable(t, "")
	write(t, f, sectors("ab"), 0)
	for decide := range All() {
		c := m.CrashClone(Crash{Decide: decide})
		g := open(t, c, "f")
		length, _, err := g.Size()
		must(t, err)
		must(t, g.Truncate(4*SectorSize))
		if got := short(read(t, c, "f"))[length/SectorSize:]; strings.Trim(got, "0") != "" {
			t.Errorf("a file of %d bytes grew by %q", length, got)
		}
	}
}

func TestCrashNames(t *testing.T) {
	m := New()
	a, b := open(t, m, "a"), open(t, m, "b")
	must(t, a.Sync())
	must(t, b.Sync())
	wantStates(t, m, "", "a=", "b=", "a= b=")
	must(t, m.SyncDir("."))
	wantStates(t, m, "a= b=")

	write(t, a, sectors("A"), 0)
	write(t, b, sectors("B"), 0)
	must(t, a.Sync())
	must(t, b.Sync())
	must(t, m.Rename("a", "b"))
	wantStates(t, m, "a=A b=B", "b=A")
	open(t, m, "a")
	wantStates(t, m, "a=A b=B", "b=A", "a= b=A")
	must(t, m.Remove("b"))
	wantStates(t, m, "a=A b=B", "b=A", "a= b=A", "a=", "")
	must(t, m.SyncDir("."))
	wantStates(t, m, "a=")
}

func TestCrashRemovedFileComesBack(t *testing.T) {
	m, f := durable(t, sectors("a"))
	must(t, m.Remove("f"))
	must(t, f.Close())
	write(t, open(t, m, "f"), sectors("b"), 0)
	wantStates(t, m, "f=a", "", "f=", "f=0", "f=b")
	must(t, m.SyncDir(""))
	wantStates(t, m, "f=", "f=0", "f=b")
}

func TestCrashDirectories(t *testing.T) {
	m := New()
	must(t, m.Mkdir("d", 0o700))
	f := open(t, m, "d/f")
	must(t, f.Sync())
	wantStates(t, m, "", "d{}", "d{f=}")
	must(t, m.SyncDir("d"))
	wantStates(t, m, "", "d{f=}")
	must(t, m.SyncDir("."))
	wantStates(t, m, "d{f=}")
	must(t, m.Rename("d/f", "f"))
	wantStates(t, m, "d{f=}", "d{} f=")
	open(t, m, "d/f")
	must(t, m.SyncDir("."))
	wantStates(t, m, "d{} f=", "d{f=} f=")
}

// A rename between directories takes with it what came before on its names.
func TestCrashRenameAcrossDirectories(t *testing.T) {
	m := New()
	must(t, m.Mkdir("d", 0o700))
	must(t, m.Mkdir("e", 0o700))
	must(t, m.SyncDir("."))
	open(t, m, "e/a")
	open(t, m, "e/b")
	must(t, m.Rename("e/a", "d/a"))
	must(t, m.SyncDir("d"))
	wantStates(t, m, "d{a=} e{}", "d{a=} e{b=}")
}

func TestCrashJournal(t *testing.T) {
	m, f := durable(t, sectors("aa"))
	a := open(t, m, "a")
	open(t, m, "b")
	must(t, f.Truncate(SectorSize))
	open(t, m, "c")
	// Operations arrive in their order.
	wantJournalStates(t, m, "f=aa", "a= f=aa", "a= b= f=aa", "a= b= f=a", "a= b= c= f=a")
	// Any Sync writes out all earlier ones.
	must(t, a.Sync())
	wantJournalStates(t, m, "a= b= c= f=a")
	must(t, m.Remove("a"))
	wantJournalStates(t, m, "a= b= c= f=a", "b= c= f=a")
	// And so does any SyncDir.
	must(t, m.Mkdir("d", 0o700))
	must(t, m.SyncDir("d"))
	wantJournalStates(t, m, "b= c= d{} f=a")
	// Without a journal the same Sync says nothing about names.
	if got := states(t, m, false); !slices.Contains(got, "f=aa") {
		t.Errorf("without a journal the states are %q", got)
	}
}

func TestFailedSync(t *testing.T) {
	m, f := durable(t, sectors("aa"))
	write(t, f, sectors("b"), 0)
	must(t, m.FailSync("f"))
	wantContent := func(want string) {
		t.Helper()
		if got := short(read(t, m, "f")); got != want {
			t.Errorf("content is %s, want %s", got, want)
		}
	}
	wantContent("ba")
	must(t, f.Sync()) // succeeds and proves nothing
	wantStates(t, m, "f=aa", "f=ba")
	wantContent("ba")

	// Other sectors can be made durable.
	write(t, f, sectors("c"), SectorSize)
	wantStates(t, m, "f=aa", "f=ba", "f=ac", "f=bc")
	must(t, f.Sync())
	wantStates(t, m, "f=ac", "f=bc")

	// A restart does not help, and neither does a second restart.
	m = m.Clone()
	f = open(t, m, "f")
	must(t, f.Sync())
	wantStates(t, m, "f=ac", "f=bc")

	// Writing the same bytes again does.
	write(t, f, sectors("b"), 0)
	wantStates(t, m, "f=ac", "f=bc")
	must(t, f.Sync())
	wantStates(t, m, "f=bc")
}

func TestFailedSyncOfLength(t *testing.T) {
	m, f := durable(t, sectors("aa"))
	must(t, f.Truncate(SectorSize))
	must(t, m.FailSync("f"))
	must(t, f.Sync())
	wantStates(t, m, "f=aa", "f=a")
	must(t, f.Truncate(SectorSize))
	must(t, f.Sync())
	wantStates(t, m, "f=a")

	write(t, f, sectors("bc"), 0)
	must(t, m.FailSync("f"))
	write(t, f, sectors("c"), SectorSize)
	must(t, f.Sync())
	wantStates(t, m, "f=ac", "f=bc")

	// What is cut off durably does not come back from the failed writes.
	must(t, f.Truncate(0))
	must(t, f.Sync())
	must(t, f.Truncate(2*SectorSize))
	must(t, f.Sync())
	wantStates(t, m, "f=00")
}

func TestCloneIsAKill(t *testing.T) {
	m, f := durable(t, sectors("a"))
	lock, err := m.OpenLock("lock")
	must(t, err)
	must(t, lock.TryLock(0, true))
	write(t, f, sectors("b"), 0)
	ghost := open(t, m, "ghost")
	write(t, ghost, sectors("g"), 0)
	must(t, m.Remove("ghost"))

	c := m.Clone()
	if got := state(t, c, ""); got != "f=b lock=" {
		t.Errorf("after a kill the state is %q", got)
	}
	if c.Used() != chunkSize {
		t.Errorf("%d bytes are used, want one chunk", c.Used())
	}
	again, err := c.OpenLock("lock")
	must(t, err)
	must(t, again.TryLock(0, true))

	// The page cache survived, but the power can still go.
	if got := states(t, c, false); !slices.Contains(got, "f=a") || !slices.Contains(got, "f=b lock=") {
		t.Errorf("states are %q", got)
	}
	// Neither sees what happens to the other.
	write(t, f, sectors("x"), 0)
	write(t, open(t, c, "f"), sectors("yy"), 0)
	open(t, c, "new")
	if got := state(t, m, ""); got != "f=x lock=" {
		t.Errorf("the original is %q", got)
	}
	if got := state(t, c, ""); got != "f=yy lock= new=" {
		t.Errorf("the clone is %q", got)
	}
	must(t, ghost.Close())
}

func TestCrashClonesAreIndependent(t *testing.T) {
	m, f := durable(t, sectors("aaaaaaaaaa"))
	write(t, f, sectors("b"), 0)
	c := m.CrashClone(Crash{Decide: KeepAll})
	d := c.CrashClone(Crash{Decide: KeepAll})
	write(t, open(t, c, "f"), sectors("c"), SectorSize)
	write(t, f, sectors("d"), 2*SectorSize)
	for _, x := range []struct {
		m    *FS
		want string
	}{{m, "f=badaaaaaaa"}, {c, "f=bcaaaaaaaa"}, {d, "f=baaaaaaaaa"}} {
		if got := state(t, x.m, ""); got != x.want {
			t.Errorf("state is %q, want %q", got, x.want)
		}
	}
	wantStates(t, d, "f=baaaaaaaaa")
}

func TestGarbage(t *testing.T) {
	m, f := durable(t, sectors("aa"))
	write(t, f, sectors("b"), 0)
	c := m.CrashClone(Crash{Decide: func(Choice) int { return Garbage }})
	if got := short(read(t, c, "f")); got != "?a" {
		t.Errorf("content is %s, want garbage in the first sector only", got)
	}
}

func TestRandomIsReproducible(t *testing.T) {
	m, f := durable(t, sectors("aaaaaaaa"))
	write(t, f, sectors("bbbbbbbbbbbb"), 0)
	open(t, m, "g")
	seen := map[string]bool{}
	for seed := range uint64(200) {
		crash := func(odds Odds) string {
			return state(t, m.CrashClone(Crash{Decide: Random(rand.New(rand.NewPCG(seed, 1)), odds)}), "")
		}
		got := crash(Even)
		if again := crash(Even); again != got {
			t.Fatalf("seed %d gives %q and %q", seed, got, again)
		}
		seen[got] = true
		if got := crash(Odds{}); got != "f=aaaaaaaa" {
			t.Fatalf("odds of 0 kept %q", got)
		}
		if got := crash(Odds{Entry: 1, Length: 1, Sector: 1}); got != "f=bbbbbbbbbbbb g=" {
			t.Fatalf("odds of 1 left %q", got)
		}
	}
	if len(seen) < 150 {
		t.Errorf("200 seeds gave %d states", len(seen))
	}
}

func TestDropAllAndKeepAll(t *testing.T) {
	m, f := durable(t, sectors("a"))
	write(t, f, sectors("bb"), 0)
	open(t, m, "g")
	for _, c := range []struct {
		crash Crash
		want  string
	}{{Crash{}, "f=a"}, {Crash{Decide: DropAll}, "f=a"}, {Crash{Decide: KeepAll}, "f=bb g="}} {
		if got := state(t, m.CrashClone(c.crash), ""); got != c.want {
			t.Errorf("state is %q, want %q", got, c.want)
		}
	}
}

func TestAllCountsThroughEverything(t *testing.T) {
	seen := map[string]bool{}
	for decide := range All() {
		// The second question depends on the first answer.
		first := decide(Choice{Versions: 3})
		s := fmt.Sprint(first)
		if first == 1 {
			s += fmt.Sprint(decide(Choice{Versions: 2}))
		}
		if seen[s] {
			t.Errorf("%s came twice", s)
		}
		seen[s] = true
	}
	if len(seen) != 4 {
		t.Errorf("answers are %v, want 0 10 11 2", seen)
	}
}

// Rare orders of failed syncs and truncations.
func TestFailedSyncAndTruncate(t *testing.T) {
	t.Run("cut and grown before the sync that succeeds", func(t *testing.T) {
		m, f := durable(t, sectors("aa"))
		write(t, f, sectors("bb"), 0)
		must(t, m.FailSync("f"))
		must(t, f.Truncate(SectorSize))
		must(t, f.Truncate(2*SectorSize))
		must(t, f.Sync())
		wantStates(t, m, "f=a0", "f=b0")
	})
	t.Run("the second failure takes the first back", func(t *testing.T) {
		m, f := durable(t, "")
		write(t, f, sectors("a"), 0)
		must(t, m.FailSync("f"))
		must(t, f.Truncate(0))
		must(t, f.Truncate(SectorSize))
		must(t, m.FailSync("f"))
		wantStates(t, m, "f=", "f=0", "f=a")
		if got := state(t, m.CrashClone(Crash{Decide: KeepAll}), ""); got != "f=0" {
			t.Errorf("all kept gives %q, want what reads see", got)
		}
	})
	t.Run("grown after a cut that failed", func(t *testing.T) {
		m, f := durable(t, sectors("a"))
		must(t, f.Truncate(0))
		must(t, m.FailSync("f"))
		must(t, f.Truncate(SectorSize))
		wantStates(t, m, "f=a", "f=", "f=0")
	})
}

func TestFailedSyncOfAClone(t *testing.T) {
	m, f := durable(t, sectors("aaa"))
	write(t, f, sectors("bbb"), 0)
	must(t, m.FailSync("f"))
	write(t, f, sectors("x"), 2*SectorSize)
	must(t, f.Sync())
	c := m.Clone()
	g := open(t, c, "f")
	write(t, g, sectors("c"), 0)
	must(t, g.Sync())
	write(t, f, sectors("d"), SectorSize)
	must(t, f.Sync())
	wantStates(t, c, "f=cax", "f=cbx")
	wantStates(t, m, "f=adx", "f=bdx")
}

// Bytes that were the first of their block when a Sync failed are gone after a
// power cut on a journalled file system, whatever is written and synced there
// later, until Renew.
func TestFirstWriteThatFails(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  func(*testing.T, vfs.File)
		want    string
		journal bool
	}{
		{"written again", func(*testing.T, vfs.File) {}, "f=00", true},
		{"not journalled", func(*testing.T, vfs.File) {}, "f=bb", false},
		{"renewed", func(t *testing.T, f vfs.File) { must(t, f.Renew(0, 2*SectorSize)) }, "f=bb", true},
		{"renewed in part", func(t *testing.T, f vfs.File) { must(t, f.Renew(0, SectorSize)) }, "f=b0", true},
		{"cut", func(t *testing.T, f vfs.File) { must(t, f.Truncate(0)) }, "f=bb", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, f := durable(t, "")
			write(t, f, sectors("aa"), 0)
			must(t, m.FailSync("f"))
			m = m.Clone() // the process dies of it
			f = open(t, m, "f")
			c.before(t, f)
			write(t, f, sectors("bb"), 0)
			must(t, f.Sync())
			for _, decide := range []func(Choice) int{KeepAll, DropAll} {
				if got := state(t, m.CrashClone(Crash{Decide: decide, Journal: c.journal}), ""); got != c.want {
					t.Errorf("state is %q, want %q", got, c.want)
				}
			}
		})
	}
}
