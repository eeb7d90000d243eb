package fuzz

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"testing"

	"loomstore/image"
	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// small is the geometry in which whole stores fit into an input.
var small = patch.Geometry{PageSize: 256}

// A block is 4096 bytes, of which a record or header uses the first 1200: the
// targets take those alone, because Go's fuzzer gets lost in long inputs.
const blockUsed = 1200

// asBlock makes a block of b, with or without the right hash at its end.
func asBlock(b []byte, seal bool) []byte {
	block := make([]byte, patch.BlockSize)
	copy(block, b)
	if seal {
		patch.SealBlock(block)
	}
	return block
}

func addBlock(f *testing.F, block []byte) {
	f.Add(block[:blockUsed], true)
	f.Add(block[:blockUsed], false)
	for bit := 0; bit < 8*blockUsed; bit += 97 {
		b := bytes.Clone(block[:blockUsed])
		b[bit/8] ^= 1 << (bit % 8)
		f.Add(b, true)
		f.Add(b[:bit/8], true)
	}
}

func FuzzCommitRecord(f *testing.F) {
	rec := &patch.Record{Store: patch.UUID{1}, Base: 6, Epoch: 7, OldPages: 3, NewPages: 4, Low: 4 * 256, Lines: 2,
		BodyOffset: 4096, LinesHash: 9, Rewrite: 1, App: []byte("root")}
	addBlock(f, rec.Marshal(small))
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		block := asBlock(b, seal)
		r, err := patch.UnmarshalRecord(block, small)
		if err != nil {
			return
		}
		if err := r.Validate(small); err != nil {
			t.Fatalf("accepted an invalid record: %v", err)
		}
		if !bytes.Equal(r.Marshal(small), block) {
			t.Fatal("a record does not encode to what it was decoded from")
		}
	})
}

func FuzzSums(f *testing.F) {
	sums := smallStore(f, false)[patch.SumsFile]
	addBlock(f, sums[:patch.BlockSize])
	addBlock(f, sums[patch.BlockSize:2*patch.BlockSize])
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		h, err := image.UnmarshalHeader(asBlock(b, seal), small)
		if err != nil {
			return
		}
		if h.Pages < 0 || h.Low < 0 || h.Low > int64(h.Pages)*256 || len(h.App) > patch.MaxAppRecord {
			t.Fatalf("accepted %+v", h)
		}
	})
}

// FuzzRecoverDir gives Open a directory of damaged files: a closed or a
// pending store of which files may be missing and bytes changed, blocks sealed
// again so that lies pass the hash, lengths changed, and pages exchanged.
// Whatever they are: no panic, no allocation or write out of proportion, a
// refusal changes nothing, and what is accepted is a store whose every page
// has its hash and that can be closed and opened again.
func FuzzRecoverDir(f *testing.F) {
	stores := []map[string][]byte{smallStore(f, false), smallStore(f, true)}
	for pending := range byte(2) {
		for mask := range byte(16) {
			f.Add(pending, mask, []byte{})
		}
		for op := range byte(4 * editKinds) {
			for at := 0; at < 20000; at += 613 {
				f.Add(pending, byte(15), []byte{op, byte(at), byte(at >> 8), 0x81})
			}
		}
	}
	f.Fuzz(func(t *testing.T, pending, present byte, edits []byte) {
		fsys := memfs.New()
		must(t, fsys.Mkdir("/s", 0o700))
		for i, name := range names {
			if present&(1<<i) != 0 {
				write(t, fsys, path.Join("/s", name), edited(stores[pending&1][name], byte(i), edits))
			}
		}
		tryOpen(t, fsys)
	})
}

const editKinds = 4

// edited applies the edits that are for file number i: four bytes each, what
// to do and to which file, a position, and a value.
func edited(content []byte, i byte, edits []byte) []byte {
	b := bytes.Clone(content)
	for ; len(edits) >= 4; edits = edits[4:] {
		at := int(edits[1]) | int(edits[2])<<8
		if edits[0]%4 != i || at >= len(b) {
			continue
		}
		switch edits[0] / 4 % editKinds {
		case 0:
			b[at] ^= edits[3]
		case 1: // a change that the block's hash covers up
			b[at] ^= edits[3]
			if start := at / patch.BlockSize * patch.BlockSize; start+patch.BlockSize <= len(b) {
				patch.SealBlock(b[start : start+patch.BlockSize])
			}
		case 2:
			b = b[:at]
		case 3: // a page takes the place of another
			from, to := at/small.PageSize*small.PageSize, int(edits[3])*small.PageSize
			if to < len(b) {
				copy(b[to:min(to+small.PageSize, len(b))], b[from:])
			}
		}
	}
	return b
}

func tryOpen(t *testing.T, fsys vfs.FS) {
	t.Helper()
	ctx := context.Background()
	o := &image.Options{FS: fsys, Geometry: small, Create: true, Full: true, Workers: 1, MaxPages: 1 << 12}
	before := contents(t, fsys)
	_, refused := image.Examine(ctx, "/s", o)
	s, _, err := image.Open(ctx, "/s", o)
	if err != nil {
		if refused != nil && !unchanged(before, contents(t, fsys)) {
			t.Fatalf("refused with %v, but changed the directory", err)
		}
		if refused == nil && !errors.Is(err, patch.ErrDamaged) {
			t.Fatalf("was to be opened, but: %v", err)
		}
		return
	}
	if refused != nil && !errors.Is(refused, image.ErrNotStore) {
		t.Fatalf("was to be refused with %v, but opened", refused)
	}
	checkPages(t, s)
	must(t, s.Close(ctx))
	s, report, err := image.Open(ctx, "/s", o)
	must(t, err)
	if report.Action != image.ActionNone {
		t.Fatalf("opened again: %+v", report)
	}
	checkPages(t, s)
	must(t, s.Close(ctx))
}

var names = []string{patch.ControlFile, patch.MemoryFile, patch.ImageFile, patch.SumsFile}

// smallStore returns the files of a store with two checkpoints, the second
// pending or applied and closed.
func smallStore(tb testing.TB, pending bool) map[string][]byte {
	tb.Helper()
	ctx := context.Background()
	fsys := memfs.New()
	s, _, err := image.Open(ctx, "/s", &image.Options{FS: fsys, Geometry: small, Create: true, Workers: 1,
		NewUUID: func() patch.UUID { return patch.UUID{7} }})
	must(tb, err)
	for epoch, pages := range [][]int{{0, 1, 3}, {1, 4}} {
		st, err := s.Stage(ctx, image.Change{Pages: pages, Low: 5 * 256, App: []byte("app"),
			Content: func(i int) []byte { return bytes.Repeat([]byte{byte(epoch + 1), byte(pages[i])}, 128) }})
		must(tb, err)
		must(tb, s.Commit(st))
		if epoch == 0 || !pending {
			must(tb, s.Apply(ctx))
		}
	}
	must(tb, s.Close(ctx))
	return contents(tb, fsys)
}

func checkPages(t *testing.T, s *image.Store) {
	t.Helper()
	page := make([]byte, 256)
	for p := range s.Pages() {
		must(t, s.ReadPage(p, page))
		if want, err := s.Hash(p); err != nil || checksum.Sum64(page) != want {
			t.Fatalf("page %d: hash %x, want %x (%v)", p, checksum.Sum64(page), want, err)
		}
	}
}

func contents(tb testing.TB, fsys vfs.FS) map[string][]byte {
	tb.Helper()
	files := map[string][]byte{}
	for _, name := range names {
		f, err := fsys.OpenFile(path.Join("/s", name), os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(tb, err)
		size, _, err := f.Size()
		must(tb, err)
		b := make([]byte, size)
		if size > 0 {
			_, err = f.ReadAt(b, 0)
			must(tb, err)
		}
		must(tb, f.Close())
		files[name] = b
	}
	return files
}

func unchanged(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

func write(tb testing.TB, fsys vfs.FS, name string, b []byte) {
	tb.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	must(tb, err)
	if len(b) > 0 {
		_, err = f.WriteAt(b, 0)
		must(tb, err)
	}
	must(tb, f.Close())
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
