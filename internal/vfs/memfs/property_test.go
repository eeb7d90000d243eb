package memfs

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"loomstore/internal/vfs"
)

// A simple model of one file: a copy of the whole after every operation since
// the last sync. After a power cut each sector is that of one of the copies,
// or cut to zeros by a truncation, and the length is that of one of them.
func TestCrashAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New()
		f, err := m.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		fatal(t, err)
		fatal(t, m.SyncDir("."))
		history := []string{""}
		for range rapid.IntRange(1, 12).Draw(t, "operations") {
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				fatal(t, f.Truncate(SectorSize*rapid.Int64Range(0, 12).Draw(t, "size")))
			case 1:
				fatal(t, f.Sync())
				history = nil
			case 2:
				fatal(t, f.Allocate(0, 1+rapid.Int64Range(0, 20000).Draw(t, "n")))
			case 3: // an interruption without effect
				m = m.Clone()
				f, err = m.OpenFile("f", os.O_RDWR, 0)
				fatal(t, err)
			default:
				letter := rapid.StringMatching("[a-z]").Draw(t, "letter")
				_, err := f.WriteAt([]byte(strings.Repeat(letter, rapid.IntRange(0, 3000).Draw(t, "n"))), rapid.Int64Range(0, 5000).Draw(t, "off"))
				fatal(t, err)
			}
			history = append(history, contentOf(t, m))
		}
		last := history[len(history)-1]
		if got := contentOf(t, m.CrashClone(Crash{Decide: KeepAll})); got != last {
			t.Fatalf("all kept gives %q, want %q", short(got), short(last))
		}
		if got := contentOf(t, m.CrashClone(Crash{})); got != history[0] {
			t.Fatalf("all dropped gives %q, want %q", short(got), short(history[0]))
		}
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 0))
			c := m.CrashClone(Crash{Decide: Random(rng, Odds{Length: 0.5, Sector: 0.4, Allocation: 0.5}), Journal: seed%2 == 0})
			got := contentOf(t, c)
			checkAgainst(t, history, got)
			// What a power cut left is durable.
			if again := contentOf(t, c.CrashClone(Crash{})); again != got {
				t.Fatalf("a second power cut changed %q to %q", short(got), short(again))
			}
		}
		if again := contentOf(t, m); again != last {
			t.Fatalf("the original changed from %q to %q", short(last), short(again))
		}
	})
}

func fatal(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func contentOf(t *rapid.T, m *FS) string {
	f, err := m.OpenFile("f", os.O_RDONLY, 0)
	fatal(t, err)
	defer f.Close()
	return fileContent(t, f)
}

func fileContent(t *rapid.T, f vfs.File) string {
	length, _, err := f.Size()
	fatal(t, err)
	b := make([]byte, length)
	_, err = f.ReadAt(b, 0)
	fatal(t, err)
	return string(b)
}

func checkAgainst(t *rapid.T, history []string, got string) {
	okLength := false
	for _, h := range history {
		okLength = okLength || len(h) == len(got)
	}
	if !okLength {
		t.Fatalf("length %d is none of the past", len(got))
	}
	zeros := make([]byte, SectorSize)
	for off := 0; off < len(got); off += SectorSize {
		sector := []byte(got[off:min(off+SectorSize, len(got))])
		ok := bytes.Equal(sector, zeros[:len(sector)])
		for _, h := range history {
			old := append([]byte(h[min(off, len(h)):min(off+len(sector), len(h))]), zeros...)[:len(sector)]
			ok = ok || bytes.Equal(sector, old)
		}
		if !ok {
			t.Fatalf("sector at %d is none of the past", off)
		}
	}
}

// After a failed sync and any later work, rewriting everything and syncing
// makes everything durable.
func TestRewritingHealsAFailedSync(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New()
		f, err := m.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		fatal(t, err)
		fatal(t, m.SyncDir("."))
		for range rapid.IntRange(1, 12).Draw(t, "operations") {
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				fatal(t, f.Truncate(rapid.Int64Range(0, 6000).Draw(t, "size")))
			case 1:
				fatal(t, m.FailSync("f"))
			case 2:
				fatal(t, f.Sync())
			default:
				letter := rapid.StringMatching("[a-z]").Draw(t, "letter")
				_, err := f.WriteAt([]byte(strings.Repeat(letter, rapid.IntRange(0, 3000).Draw(t, "n"))), rapid.Int64Range(0, 5000).Draw(t, "off"))
				fatal(t, err)
			}
		}
		want := contentOf(t, m)
		if got := contentOf(t, m.CrashClone(Crash{Decide: KeepAll})); got != want {
			t.Fatalf("all kept gives %q, want %q", short(got), short(want))
		}
		fatal(t, f.Truncate(int64(len(want))))
		_, err = f.WriteAt([]byte(want), 0)
		fatal(t, err)
		fatal(t, f.Sync())
		if got := contentOf(t, m.CrashClone(Crash{})); got != want {
			t.Fatalf("after rewriting a power cut gives %q, want %q", short(got), short(want))
		}
	})
}
