package image_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// fill makes the content of a page: a stream keyed by epoch and page, so that
// a mixture of two checkpoints can not compare equal.
func fill(size int, epoch uint64, page int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(epoch, uint64(page)))
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

// model is what the store should hold: which epoch wrote each page.
type model struct {
	size  int
	pages []uint64 // 0: never written
}

func (m model) content(page int) []byte {
	if m.pages[page] == 0 {
		return make([]byte, m.size)
	}
	return fill(m.size, m.pages[page], page)
}

// step is one checkpoint of a test: the image's new page count and the pages
// that change.
type step struct {
	pages int
	dirty []int
}

func (m *model) take(epoch uint64, st step) image.Change {
	for len(m.pages) < st.pages {
		m.pages = append(m.pages, 0)
	}
	m.pages = m.pages[:st.pages]
	for _, p := range st.dirty {
		m.pages[p] = epoch
	}
	pages := append([]uint64(nil), m.pages...)
	was := model{m.size, pages}
	return image.Change{Pages: st.dirty, Content: func(i int) []byte { return was.content(st.dirty[i]) },
		Low: int64(st.pages) * int64(m.size), App: binary.LittleEndian.AppendUint64(nil, epoch)}
}

// checkpoint runs the whole protocol once.
func checkpoint(s *image.Store, c image.Change) error {
	ctx := context.Background()
	st, err := s.Stage(ctx, c)
	if err != nil {
		return err
	}
	if err := s.Commit(st); err != nil {
		return err
	}
	return s.Apply(ctx)
}

func checkHolds(t *testing.T, s *image.Store, m model, epoch uint64) {
	t.Helper()
	st := s.State()
	if st.Epoch != epoch || st.Pages != len(m.pages) {
		t.Fatalf("epoch %d with %d pages, want epoch %d with %d pages", st.Epoch, st.Pages, epoch, len(m.pages))
	}
	buf := make([]byte, m.size)
	for p := range m.pages {
		if err := s.ReadPage(p, buf); err != nil {
			t.Fatalf("read page %d: %v", p, err)
		}
		if !bytes.Equal(buf, m.content(p)) {
			t.Fatalf("page %d holds something else", p)
		}
	}
}

var workload = []step{
	{4, []int{0, 1, 3}},
	{4, []int{2}},
	{9, []int{0, 6, 7}},
	{9, nil},
	{3, []int{1}},
	{12, []int{11}},
}

func TestCheckpointsAndReopen(t *testing.T) {
	for _, size := range []int{256, 16384} {
		dir, ctx := t.TempDir(), context.Background()
		o := &image.Options{FS: vfs.OS, Create: true, Full: true, Geometry: patch.Geometry{PageSize: size}}
		m := model{size: size}
		for i, st := range workload {
			s, report, err := image.Open(ctx, dir, o)
			if err != nil {
				t.Fatal(err)
			}
			want := image.ActionNone
			if i == 0 {
				want = image.ActionCreated
			}
			if report.Action != want {
				t.Fatalf("action %q (%s), want %q", report.Action, report.Reason, want)
			}
			checkHolds(t, s, m, uint64(i))
			if err := checkpoint(s, m.take(uint64(i+1), st)); err != nil {
				t.Fatal(err)
			}
			checkHolds(t, s, m, uint64(i+1))
			if got := s.State().App; binary.LittleEndian.Uint64(got) != uint64(i+1) {
				t.Fatalf("application record %x", got)
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A store that is left behind committed but not applied is applied by Open.
func TestReopenAppliesCommitted(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	o := &image.Options{Create: true, Full: true, Geometry: patch.Geometry{PageSize: 256}}
	s, _, err := image.Open(ctx, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	m := model{size: 256}
	for i, st := range workload {
		staged, err := s.Stage(ctx, m.take(uint64(i+1), st))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(staged); err != nil {
			t.Fatal(err)
		}
		checkHolds(t, s, m, uint64(i+1))
		if err := s.Close(ctx); err != nil { // pending: not marked clean
			t.Fatal(err)
		}
		var report image.Report
		if s, report, err = image.Open(ctx, dir, o); err != nil {
			t.Fatal(err)
		}
		if report.Action != image.ActionApplied {
			t.Fatalf("action %q", report.Action)
		}
		checkHolds(t, s, m, uint64(i+1))
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
