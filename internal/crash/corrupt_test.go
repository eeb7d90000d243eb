package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

var storeFiles = []string{patch.ControlFile, patch.MemoryFile, patch.ImageFile, patch.SumsFile}

// files is what the files of a store hold; nil: the file does not exist.
type files map[string][]byte

func contents(t testing.TB, m *memfs.FS) files {
	t.Helper()
	all := files{}
	for _, name := range storeFiles {
		f, err := m.OpenFile(at(name), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		size, _, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if n, err := f.ReadAt(b, 0); n < len(b) {
			t.Fatal(err)
		}
		all[name] = b
		_ = f.Close()
	}
	return all
}

func (fs files) fsys(t testing.TB) *memfs.FS {
	t.Helper()
	m := memfs.New()
	if err := m.Mkdir(storeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range storeFiles {
		b, ok := fs[name]
		if !ok {
			continue
		}
		f, err := m.OpenFile(at(name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return m
}

func (fs files) with(name string, b []byte) files {
	c := files{}
	for n, old := range fs {
		c[n] = old
	}
	if b == nil {
		delete(c, name)
	} else {
		c[name] = b
	}
	return c
}

// damage is one way to damage a store.
type damage struct {
	name string
	fs   files
}

// tally is what Open and reading every page said of damaged stores.
type tally struct{ exact, refused, found, silent, older int }

func (c *tally) String() string {
	return fmt.Sprintf("exact %d, refused by Open %d, named when read %d, silently older %d, silent %d", c.exact, c.refused, c.found, c.older, c.silent)
}

// look opens a damaged store and reads all of it.
func (c *tally) look(t *testing.T, d damage, l *ledger, full bool) {
	t.Helper()
	p := loom{size: 256, create: true, full: full}
	s, _, f := recovered(p, d.fs.fsys(t), l)
	switch {
	case f == nil:
		c.exact++
		_ = s.close()
	case f.what == unavailable:
		c.refused++
	case f.what == lost:
		c.older++
		if c.older < 4 {
			t.Errorf("%s: %v", d.name, f)
		}
	case isDefect(f.err):
		c.found++
		if full {
			t.Errorf("%s: full verification let pass: %v", d.name, f)
		}
	default:
		c.silent++
		if c.silent < 4 {
			t.Errorf("%s: %v", d.name, f)
		}
	}
}

// No damage to any file goes unnoticed (R6): a store whose bits are flipped,
// whose files are cut, removed, mixed with another store's or put back to an
// older copy, holds the exact state or says what is wrong; with Options.Full
// at Open, without it at the latest when the page is read.
func TestDamageIsNeverSilent(t *testing.T) {
	flips := int(number(t, "LOOM_CRASH_FLIPS", 3000))
	for _, pending := range []bool{false, true} {
		old, now, other, l := damagedStores(t, pending)
		for _, full := range []bool{true, false} {
			var c tally
			rng := rand.New(rand.NewPCG(uint64(number(t, seedVariable, 1)), 11))
			for _, d := range structural(old, now, other) {
				c.look(t, d, l, full)
			}
			n := c
			for range flips {
				c.look(t, flipped(rng, now), l, full)
			}
			for range flips / 10 {
				c.look(t, moved(rng, old, now), l, full)
			}
			t.Logf("pending %v, full %v: %d structural, %d bit flips, %d pages moved: %v", pending, full,
				n.exact+n.refused+n.found+n.silent+n.older, flips, flips/10, &c)
		}
	}
}

// damagedStores returns a store of two checkpoints, an older copy of it, and
// another store; pending leaves the last checkpoint unapplied.
func damagedStores(t *testing.T, pending bool) (old, now, other files, l *ledger) {
	t.Helper()
	p := loom{size: 256, create: true}
	m, l := prepared(t, p, history[0], history[2])
	old = contents(t, m)
	foreign, _ := prepared(t, loom{size: 256, create: true, uuid: 1}, history[0], history[2], history[1])
	other = contents(t, foreign)
	leave(t, p, m, l, history[4], pending)
	return old, contents(t, m), other, l
}

// leave takes one more checkpoint and closes the store, with the checkpoint
// applied or, if pending, not.
func leave(t *testing.T, p loom, m *memfs.FS, l *ledger, ch change, pending bool) {
	t.Helper()
	s, err := p.open(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(*loomSession).commit(l, ch); err != nil {
		t.Fatal(err)
	}
	if !pending {
		if err := s.(*loomSession).apply(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// structural is files cut, removed, and exchanged.
func structural(old, now, other files) []damage {
	var list []damage
	for _, name := range storeFiles {
		list = append(list, damage{"without " + name, now.with(name, nil)}, damage{"empty " + name, now.with(name, []byte{})},
			damage{name + " of another store", now.with(name, other[name])})
		for n := len(now[name]) - 1; n > 0; n -= 37 {
			list = append(list, damage{fmt.Sprintf("%s cut to %d", name, n), now.with(name, now[name][:n])})
		}
		if name != patch.ControlFile { // R6's exception: equals a crash
			list = append(list, damage{"older " + name, now.with(name, old[name])})
		}
		longer := append(append([]byte(nil), now[name]...), make([]byte, 256)...)
		list = append(list, damage{"longer " + name, now.with(name, longer)})
	}
	return list
}

func flipped(rng *rand.Rand, fs files) damage {
	for {
		name := storeFiles[rng.IntN(len(storeFiles))]
		if len(fs[name]) == 0 {
			continue
		}
		b := append([]byte(nil), fs[name]...)
		bit := rng.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		return damage{fmt.Sprintf("%s bit %d flipped", name, bit), fs.with(name, b)}
	}
}

// moved exchanges two pages of the image, or puts an old page in its place.
func moved(rng *rand.Rand, old, now files) damage {
	const size = 256
	b := append([]byte(nil), now[patch.ImageFile]...)
	i, j := rng.IntN(len(b)/size), rng.IntN(len(b)/size)
	if rng.IntN(2) == 0 {
		if (j+1)*size <= len(old[patch.ImageFile]) {
			copy(b[j*size:(j+1)*size], old[patch.ImageFile][j*size:])
		}
		return damage{fmt.Sprintf("page %d replayed", j), now.with(patch.ImageFile, b)}
	}
	for k := range size {
		b[i*size+k], b[j*size+k] = b[j*size+k], b[i*size+k]
	}
	return damage{fmt.Sprintf("pages %d and %d exchanged", i, j), now.with(patch.ImageFile, b)}
}
