package crash

import (
	"bytes"
	"fmt"
	"testing"

	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// row is one combination of what recovery may find. The store's last
// checkpoint is epoch 3, acknowledged; its patch holds some of the pages, so
// the others are only right if the image's are.
type row struct {
	copyA, copyB string // of the record of epoch 3
	otherSlot    string
	body         string
	header       string
	table        string
	image        string
}

var (
	copies      = []string{"valid", "torn", "zero", "of another store"}
	otherSlots  = []string{"epoch 2", "zero", "garbage"}
	bodies      = []string{"good", "bad", "missing"}
	headerKinds = []string{"none", "epoch 3 CLEAN", "epoch 3", "epoch 2", "epoch 2 CLEAN", "epoch 4", "epoch 1", "another store"}
	tables      = []string{"old", "new", "garbage"}
	images      = []string{"old", "new", "mixed", "short", "long", "garbage", "missing"}
)

// materials are the files before and after the last checkpoint was applied.
type materials struct {
	old, new, closed, foreign files
	l                         *ledger
	lines                     []int
}

func tableMaterials(t *testing.T) materials {
	t.Helper()
	p := loom{size: 256, create: true}
	lines := []int{0, 2, 5}
	m, l := prepared(t, p, change{4, []int{0, 1, 3}}, change{5, []int{2, 4}})
	s, err := p.open(m)
	if err != nil {
		t.Fatal(err)
	}
	own := s.(*loomSession)
	if err := own.commit(l, change{7, lines}); err != nil {
		t.Fatal(err)
	}
	mat := materials{old: contents(t, m), l: l, lines: lines}
	if err := own.apply(); err != nil {
		t.Fatal(err)
	}
	mat.new = contents(t, m)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	mat.closed = contents(t, m)
	foreign, _ := prepared(t, loom{size: 256, create: true, uuid: 9}, change{4, []int{0, 1, 3}}, change{5, []int{2, 4}}, change{7, lines})
	mat.foreign = contents(t, foreign)
	return mat
}

func garbled(b []byte) []byte {
	c := bytes.Clone(b)
	for i := range c {
		c[i] = c[i]*31 + byte(i) + 7
	}
	return c
}

// build makes the files of a row.
func (mat materials) build(r row) files {
	control := bytes.Clone(mat.old[patch.ControlFile])
	block := func(b []byte, i int) []byte { return b[i*patch.BlockSize : (i+1)*patch.BlockSize] }
	for i, what := range []string{r.copyA, r.copyB} { // epoch 3 has slot 1
		b := block(control, 2+i)
		switch what {
		case "torn":
			copy(b[512:1024], garbled(b[512:1024]))
		case "zero":
			clear(b)
		case "of another store":
			copy(b, block(mat.foreign[patch.ControlFile], 2+i))
		}
	}
	switch r.otherSlot {
	case "zero":
		clear(control[:2*patch.BlockSize])
	case "garbage":
		copy(control, garbled(control[:2*patch.BlockSize]))
	}
	memory := bytes.Clone(mat.old[patch.MemoryFile])
	switch r.body {
	case "bad":
		for i := range memory {
			memory[i] ^= 1
		}
	case "missing":
		memory = nil
	}
	return mat.old.with(patch.ControlFile, control).with(patch.MemoryFile, memory).
		with(patch.SumsFile, mat.sums(r)).with(patch.ImageFile, mat.image(r.image))
}

func (mat materials) sums(r row) []byte {
	entries := mat.old[patch.SumsFile][2*patch.BlockSize:]
	switch r.table {
	case "new":
		entries = mat.new[patch.SumsFile][2*patch.BlockSize:]
	case "garbage":
		entries = garbled(entries)
	}
	head := make([]byte, 2*patch.BlockSize)
	odd, even := head[patch.BlockSize:], head[:patch.BlockSize]
	copy(even, mat.old[patch.SumsFile]) // epoch 2
	switch r.header {
	case "none":
		clear(head)
	case "epoch 3":
		copy(odd, mat.new[patch.SumsFile][patch.BlockSize:2*patch.BlockSize])
	case "epoch 3 CLEAN":
		copy(odd, mat.closed[patch.SumsFile][patch.BlockSize:2*patch.BlockSize])
	case "epoch 2":
		even[72] = 0
		patch.SealBlock(even)
	case "epoch 2 CLEAN":
		even[72] = 1
		patch.SealBlock(even)
	case "epoch 4", "epoch 1":
		b := even
		if r.header == "epoch 1" {
			clear(even)
			b = odd
		}
		copy(b, mat.new[patch.SumsFile][patch.BlockSize:2*patch.BlockSize])
		b[32], b[80] = r.header[6]-'0', r.header[6]-'0' // epoch, application record
		patch.SealBlock(b)
	case "another store":
		copy(head, mat.foreign[patch.SumsFile])
	}
	return append(head, entries...)
}

func (mat materials) image(what string) []byte {
	const size = 256
	b := bytes.Clone(mat.new[patch.ImageFile])
	switch what {
	case "old":
		b = bytes.Clone(mat.old[patch.ImageFile])
	case "mixed":
		copy(b, mat.old[patch.ImageFile][:2*size])
		copy(b[2*size:2*size+100], mat.old[patch.ImageFile][2*size:])
	case "short":
		b = b[:3*size]
	case "long":
		b = append(b, make([]byte, size)...)
	case "garbage":
		copy(b[size:2*size], garbled(b[size:2*size])) // page 1 has no line
	case "missing":
		b = nil
	}
	return b
}

// opens reports whether DESIGN section 5 calls for the store to open: what is
// left is enough, and it is what a crash of ours can leave or damage that the
// rest makes good.
func (r row) opens() bool {
	record := r.copyA == "valid" || r.copyB == "valid"
	record = record && r.copyA != "of another store" && r.copyB != "of another store"
	header := r.header == "epoch 3" || r.header == "epoch 2" || r.header == "epoch 2 CLEAN"
	image := r.image == "old" || r.image == "mixed" || r.image == "new"
	switch {
	case record && header && image && r.body == "good":
		return true // applied, with sums.bin rebuilt if need be
	case record && (header || r.header == "none") && r.image == "new":
		return true // proven by its digest
	case record && r.header == "epoch 3 CLEAN" && r.image == "new" && r.table == "new":
		return true // closed
	}
	return false
}

// The recovery table, every combination: what Open does keeps R1, R6 and R9.
// It opens where it has to, to the acknowledged state or, where no record of it
// is left, the one before; a wrong page is named when it is read; a refusal has
// changed nothing.
func TestRecoveryTable(t *testing.T) {
	mat := tableMaterials(t)
	counts := map[string]int{}
	rows := 0
	for _, r := range allRows() {
		rows++
		m := mat.build(r).fsys(t)
		before := withoutLock(m)
		verdict := mat.look(t, r, m)
		counts[verdict]++
		if verdict == "refused" && withoutLock(m) != before {
			t.Errorf("%+v: refused, and changed something", r)
		}
		if r.opens() && verdict != "exact" {
			t.Errorf("%+v: %s, but it is all there", r, verdict)
		}
		if t.Failed() && rows > 20000 {
			break
		}
	}
	t.Logf("%d combinations: %v", rows, counts)
}

func allRows() (all []row) {
	for _, a := range copies {
		for _, b := range copies {
			for _, o := range otherSlots {
				for _, body := range bodies {
					for _, h := range headerKinds {
						for _, table := range tables {
							for _, i := range images {
								all = append(all, row{a, b, o, body, h, table, i})
							}
						}
					}
				}
			}
		}
	}
	return all
}

func (mat materials) look(t *testing.T, r row, m *memfs.FS) string {
	t.Helper()
	p := loom{size: 256, create: true}
	l := mat.l.clone()
	if r.copyA != "valid" && r.copyB != "valid" {
		l.acked = 2 // nothing is left that says otherwise
	}
	if r.header == "epoch 4" {
		l.begin(change{pages: 7}) // the header of an empty checkpoint
	}
	s, err := p.open(m)
	if err != nil {
		return "refused"
	}
	defer s.close()
	_, f := judge(s, p.size, l)
	switch {
	case f == nil:
		return "exact"
	case isDefect(f.err):
		return "named when read"
	}
	t.Errorf("%+v: %v", r, f)
	return fmt.Sprint(f.what)
}

// withoutLock is a hash of everything but the lock file.
func withoutLock(m *memfs.FS) uint64 {
	c := m.Clone()
	_ = c.Remove(at("lock"))
	return c.Hash(hashSeed)
}
