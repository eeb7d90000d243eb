package crash

import (
	"context"
	"encoding/binary"
	"fmt"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// storeDir is where every explored store lies.
const storeDir = "/store"

// protocol is a way to keep an image in files: ours, ours with something taken
// out, or vere's.
type protocol interface {
	// open creates or recovers the store.
	open(fsys vfs.FS) (session, error)
	pageSize() int
}

// session is an open store.
type session interface {
	// epoch of the state it holds; false if the protocol does not know.
	epoch() (uint64, bool)
	pages() int
	read(page int, dst []byte) error
	// checkpoint makes a change durable and applies it; it calls l.ack when it
	// may be acknowledged.
	checkpoint(l *ledger, ch change) error
	// quiet reports whether opening had nothing to do.
	quiet() bool
	close() error
}

// loom is the production engine.
type loom struct {
	size   int
	create bool
	full   bool // Options.Full
	// keep is Options.PatchKeep: 1 lets every Close take the body away.
	keep int64
	// anonymous: epochs are not compared, because an import begins anew.
	anonymous bool
	share     int    // Options.ShareRun
	uuid      byte   // tells stores apart
	dir       string // where the store lies; "" is storeDir
	// early acknowledges too early: before "stage" or before "commit". For mutants.
	early string
}

func (p loom) pageSize() int { return p.size }

func (p loom) options(fsys vfs.FS) *image.Options {
	return &image.Options{FS: fsys, Create: p.create, Full: p.full, Geometry: patch.Geometry{PageSize: p.size}, Workers: 1, NewUUID: func() patch.UUID { return patch.UUID{0: 0xc4, 15: p.uuid} }, PatchKeep: p.keep, ShareRun: p.share}
}

func (p loom) open(fsys vfs.FS) (session, error) {
	phase(fsys, "open")
	dir := storeDir
	if p.dir != "" {
		dir = p.dir
	}
	s, report, err := image.Open(context.Background(), dir, p.options(fsys))
	if err != nil {
		return nil, err
	}
	return &loomSession{p: p, s: s, fsys: fsys, size: p.size, report: report}, nil
}

// phase tells the taps of a file system what the engine is about to do.
func phase(fsys vfs.FS, name string) {
	for {
		t, ok := fsys.(*tap)
		if !ok {
			return
		}
		t.phase, fsys = name, t.FS
	}
}

type loomSession struct {
	p      loom
	s      *image.Store
	fsys   vfs.FS
	size   int
	report image.Report
}

func (s *loomSession) epoch() (uint64, bool)           { return s.s.State().Epoch, !s.p.anonymous }
func (s *loomSession) pages() int                      { return s.s.Pages() }
func (s *loomSession) read(page int, dst []byte) error { return s.s.ReadPage(page, dst) }
func (s *loomSession) quiet() bool                     { return s.report.Action == image.ActionNone }

func (s *loomSession) change(l *ledger, ch change) image.Change {
	next := l.begin(ch)
	return image.Change{Pages: ch.dirty, Low: int64(ch.pages) * int64(s.size), App: binary.LittleEndian.AppendUint64(nil, l.begun),
		Content: func(i int) []byte {
			b := make([]byte, s.size)
			fill(b, next[ch.dirty[i]], ch.dirty[i])
			return b
		}}
}

func (s *loomSession) checkpoint(l *ledger, ch change) error {
	if err := s.commit(l, ch); err != nil {
		return err
	}
	return s.apply()
}

// commit takes a checkpoint up to its acknowledgement.
func (s *loomSession) commit(l *ledger, ch change) error {
	st, err := s.stage(l, s.change(l, ch))
	if err != nil {
		return err
	}
	return s.commitStaged(l, st)
}

func (s *loomSession) stage(l *ledger, c image.Change) (*image.Staged, error) {
	phase(s.fsys, "stage")
	if s.p.early == "stage" {
		l.ack(l.begun)
	}
	return s.s.Stage(context.Background(), c)
}

func (s *loomSession) commitStaged(l *ledger, st *image.Staged) error {
	phase(s.fsys, "commit")
	if s.p.early == "commit" {
		l.ack(l.begun)
	}
	if err := s.s.Commit(st); err != nil {
		return err
	}
	l.ack(l.begun)
	return nil
}

func (s *loomSession) apply() error {
	phase(s.fsys, "apply")
	return s.s.Apply(context.Background())
}

func (s *loomSession) close() error {
	phase(s.fsys, "close")
	return s.s.Close(context.Background())
}

// app checks the application record, which is atomic with its checkpoint.
func (s *loomSession) app() error {
	st := s.s.State()
	if st.Epoch > 0 && (len(st.App) != 8 || binary.LittleEndian.Uint64(st.App) != st.Epoch) {
		return fmt.Errorf("application record %x at epoch %d", st.App, st.Epoch)
	}
	return nil
}
