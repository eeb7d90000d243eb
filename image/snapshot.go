package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/internal/checksum"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// snapshot is the last committed checkpoint of a store, read while its owner
// may be at work: first everything without a lock, then, with byte 1 of the
// lock shared so that no apply runs, again what had changed.
type snapshot struct {
	o        *Options
	ctx      context.Context
	dir      string
	quick    bool     // reads no page of the image
	dst      vfs.File // gets the pages, if not nil
	dstDir   string   // where dst lies
	dstBytes int64    // how long it will be, as far as known
	defect   func(*patch.Defect)
	progress func(done, total int)

	rec    *patch.Record // the checkpoint
	hashes []uint64      // of its pages, as the store says they should be
	held   time.Duration // how long an apply may have been kept waiting
	shared bool          // dst shares the image's blocks
	bad    int           // defects reported
}

// take reads the snapshot. Defects are reported through s.defect and do not
// end it; an error does.
func (s *snapshot) take() error {
	if s.dst != nil {
		if done, err := s.clone(); done || err != nil {
			return err
		}
	}
	r := &reading{o: s.o, ctx: s.ctx, x: new(examination)}
	defer r.close()
	if err := r.open(s.dir); err != nil {
		return err
	}
	read, err := s.readAll(r)
	if err != nil {
		return err
	}
	unlock, err := s.lockApply()
	if err != nil {
		return err
	}
	defer unlock()
	began := time.Now()
	defer func() { s.held = time.Since(began) }()
	r.close()
	*r = reading{o: s.o, ctx: s.ctx, x: new(examination)}
	if err := r.open(s.dir); err != nil {
		return err
	}
	return s.settle(r, read)
}

// readAll hashes every page, and copies it to dst, without a lock.
func (s *snapshot) readAll(r *reading) ([]uint64, error) {
	if r.image == nil || s.quick {
		return nil, nil
	}
	pages := int((r.imageLen + int64(s.o.Geometry.PageSize) - 1) / int64(s.o.Geometry.PageSize))
	s.dstBytes = int64(pages) * int64(s.o.Geometry.PageSize)
	hashes := make([]uint64, pages)
	scan := s.scanner(pages)
	err := scan.runs(s.ctx, r.image, pages, func(first, n int, content []byte) error {
		scan.sum(hashes[first:first+n], content)
		return s.put(first, content)
	})
	return hashes, err
}

// scanner returns one that tells of its progress over so many pages.
func (s *snapshot) scanner(pages int) scanner {
	scan := s.o.scanner()
	if s.progress != nil {
		var mu sync.Mutex
		done := 0
		scan.progress = func(n int) {
			mu.Lock()
			defer mu.Unlock()
			done += n
			s.progress(done, pages)
		}
	}
	return scan
}

// put copies pages from first on, of which a hole stays one, and lets the disk
// begin.
func (s *snapshot) put(first int, content []byte) error {
	if s.dst == nil || len(content) == 0 {
		return nil
	}
	off := int64(first) * int64(s.o.Geometry.PageSize)
	if _, err := s.dst.WriteAt(content, off); err != nil {
		return fmt.Errorf("copy pages from %d on: %w", first, s.o.spaceError(s.dstDir, patch.ImageFile, s.dstBytes, err))
	}
	s.dst.WriteBack(off, int64(len(content)))
	return nil
}

// lockApply keeps applies out. A store nobody ever opened has no lock file,
// and on a read-only file system nobody applies.
func (s *snapshot) lockApply() (func(), error) {
	name := filepath.Join(s.dir, LockFile)
	if ok, err := exists(s.o.FS, name); !ok {
		return func() {}, err
	}
	lock, err := s.o.FS.OpenLock(name)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := lock.Lock(s.ctx, lockApply, false); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = lock.Close() }, nil
}

// settle compares what was read with what it should be, and reads again what
// an apply changed meanwhile.
func (s *snapshot) settle(r *reading, read []uint64) error {
	h, body, err := s.describe(r)
	if err != nil || h == nil {
		return err
	}
	if s.quick {
		err = s.checkPending(h, body)
	} else {
		s.fromImage(read, body)
		err = s.checkPages(r, body, read)
	}
	if err != nil {
		return err
	}
	s.checkTable(r, h, body)
	if s.dst != nil {
		return s.dst.Truncate(s.length())
	}
	return nil
}

// describe fills in which checkpoint it is and what its pages should be. It
// returns the header, nil if there is none and that was reported, and the body
// if it may be needed.
func (s *snapshot) describe(r *reading) (*patch.Header, *patch.Body, error) {
	h, err := s.header(r)
	if err != nil || h == nil {
		return nil, nil, err
	}
	s.rec = s.record(r, h)
	var body *patch.Body
	if s.rec.Lines > 0 {
		body = s.body(r, h)
	}
	return h, body, s.expect(r, h, body)
}

// length is that of the checkpoint's image.
func (s *snapshot) length() int64 { return int64(s.rec.NewPages) * int64(s.o.Geometry.PageSize) }

// checkTable looks at the image's length, and proves the page hashes by the
// digest of the record.
func (s *snapshot) checkTable(r *reading, h *patch.Header, body *patch.Body) {
	s.checkLength(r, h, body)
	if got := digestOf(s.hashes); got != s.rec.NewDigest {
		s.report(&patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: tableOffset,
			Want: s.rec.NewDigest.String(), Got: got.String(), Reason: "digest of the table"})
	}
}

// checkLength compares the image's length with that of its checkpoint. Until a
// patch is applied, one without lines included, it is between the old length
// and the new.
func (s *snapshot) checkLength(r *reading, h *patch.Header, body *patch.Body) {
	size := int64(s.o.Geometry.PageSize)
	lo, hi := int64(s.rec.NewPages)*size, int64(s.rec.NewPages)*size
	if body != nil || s.rec.Lines == 0 && !(h.Clean && h.Epoch == s.rec.Epoch) {
		lo, hi = min(lo, int64(s.rec.OldPages)*size), max(hi, int64(s.rec.OldPages)*size)
	}
	if r.imageLen < lo || r.imageLen > hi {
		s.report(lengthDefect(patch.ImageFile, lo, hi, r.imageLen))
	}
}

// fromImage takes the hashes from the image with the patch laid over it, if
// these have the digest of the checkpoint and the table has not. An apply that
// was killed leaves entries that are half written, and Open goes by the image
// then too.
func (s *snapshot) fromImage(read []uint64, body *patch.Body) {
	if body == nil || digestOf(s.hashes) == s.rec.NewDigest {
		return
	}
	found := make([]uint64, len(s.hashes))
	zero := zeroHash(s.o.Geometry)
	for p := copy(found, read); p < len(found); p++ {
		found[p] = zero
	}
	for _, l := range body.Lines {
		found[l.Page] = l.Hash
	}
	if digestOf(found) == s.rec.NewDigest {
		s.hashes = found
	}
}

// checkPages looks again at every page that did not have the right hash.
func (s *snapshot) checkPages(r *reading, body *patch.Body, read []uint64) error {
	page := make([]byte, s.o.Geometry.PageSize)
	for p, want := range s.hashes {
		if p < len(read) && read[p] == want {
			continue
		}
		if err := s.again(r, body, p, want, page); err != nil {
			return err
		}
	}
	return nil
}

// checkPending reads the pages of a patch that is not in the image yet.
func (s *snapshot) checkPending(h *patch.Header, body *patch.Body) error {
	if body == nil || h.Epoch == s.rec.Epoch {
		return nil
	}
	page := make([]byte, s.o.Geometry.PageSize)
	for i := range body.Lines {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if err := body.ReadPages(i, 1, page); err != nil {
			s.report(asDefect(patch.MemoryFile, err))
		}
	}
	return nil
}

// header returns the live header; without one there is nothing to compare
// with.
func (s *snapshot) header(r *reading) (*patch.Header, error) {
	var hs headers
	if r.sums != nil {
		var err error
		if hs, err = readHeaders(r.sums, r.sumsLen, s.o.Geometry); err != nil {
			return nil, s.sort(err)
		}
	}
	if hs.newest == nil {
		return nil, s.unlike(r)
	}
	return hs.newest, nil
}

// unlike reports a store of ours that has lost its header, and is an error for
// what never had one.
func (s *snapshot) unlike(r *reading) error {
	if err := r.classify(s.dir); err != nil {
		return s.sort(err)
	}
	d := &patch.Defect{Class: patch.ErrMismatch, File: patch.SumsFile, Page: -1, Offset: -1, Want: "a loom store", Reason: "there are no page hashes to compare with"}
	switch r.x.kind {
	case kindNative: // Open would make sums.bin anew, if the image is proven
		s.report(&patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: 0,
			Want: "a valid header", Reason: "no header beside a commit record"})
		return nil
	case kindEmpty, kindHalfCreated:
		return fmt.Errorf("%w: nothing, or a creation that was cut off before its end", ErrNotStore)
	case kindHalfMade:
		d.Got = "an import that was cut off before its end"
	default:
		d.Got = "a vere snapshot"
	}
	return cerrors.WithHint(error(d), "loomctl recover makes it a store")
}

// record is the newest commit record, if it belongs to the header; else what
// the header says.
func (s *snapshot) record(r *reading, h *patch.Header) *patch.Record {
	rec := &patch.Record{Store: h.Store, Epoch: h.Epoch, Base: max(h.Epoch, 1) - 1, OldPages: h.Pages, NewPages: h.Pages, Low: h.Low,
		OldDigest: h.Digest, NewDigest: h.Digest, LinesHash: patch.LinesHash(nil), App: h.App}
	if r.control == nil {
		s.report(&patch.Defect{Class: patch.ErrDamaged, File: patch.ControlFile, Page: -1, Offset: -1, Reason: "missing"})
		return rec
	}
	control, err := patch.ReadControl(r.control, r.controlLen, s.o.Geometry)
	if err != nil {
		s.report(asDefect(patch.ControlFile, err))
		return rec
	}
	best := control.Best()
	switch {
	case best == nil:
		s.report(&patch.Defect{Class: patch.ErrDamaged, File: patch.ControlFile, Page: -1, Offset: -1, Reason: "no valid commit record"})
	case best.Store != h.Store:
		s.report(&patch.Defect{Class: patch.ErrMismatch, File: patch.ControlFile, Page: -1, Offset: -1,
			Want: h.Store.String(), Got: best.Store.String(), Reason: "belongs to another store"})
	case best.Epoch != h.Epoch && best.Epoch != h.Epoch+1:
		s.report(&patch.Defect{Class: patch.ErrDamaged, File: patch.ControlFile, Page: -1, Offset: -1,
			Want: fmt.Sprintf("epoch %d or %d", h.Epoch, h.Epoch+1), Got: fmt.Sprintf("epoch %d", best.Epoch), Reason: "newest commit record"})
	case best.Epoch == h.Epoch && best.NewDigest != h.Digest:
		s.report(&patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: -1,
			Want: best.NewDigest.String(), Got: h.Digest.String(), Reason: "digest of the header"})
	default:
		return best
	}
	return rec
}

// body reads the body of the record where it may be needed: nil if the store
// is closed, or if the body has made room for a newer one, which it only does
// once it is applied.
func (s *snapshot) body(r *reading, h *patch.Header) *patch.Body {
	if h.Clean && h.Epoch == s.rec.Epoch {
		return nil
	}
	var source io.ReaderAt = emptyFile{}
	if r.memory != nil {
		source = r.memory
	}
	body, err := patch.ReadBody(source, r.memoryLen, s.rec, s.o.Geometry)
	if err != nil {
		if h.Epoch != s.rec.Epoch {
			s.report(asDefect(patch.MemoryFile, err))
		}
		return nil
	}
	return body
}

// expect fills in the hashes: the table, and over it the lines of a patch that
// it does not have yet.
func (s *snapshot) expect(r *reading, h *patch.Header, body *patch.Body) error {
	have := int(min(int64(h.Pages), max(r.sumsLen-tableOffset, 0)/entrySize))
	if have < min(h.Pages, s.rec.NewPages) {
		s.report(lengthDefect(patch.SumsFile, sumsLen(h.Pages), sumsLen(h.Pages), r.sumsLen))
	}
	if err := s.o.fits(s.rec.NewPages); err != nil {
		return err
	}
	t := newTable(r.sums, s.o.Geometry, have)
	// A header is no more than a claim: what it says is bounded by the files.
	pages := s.rec.NewPages
	if limit := max(have, int(r.imageLen/int64(s.o.Geometry.PageSize))+1, lastLine(body)+1); pages > limit && h.Epoch == s.rec.Epoch {
		pages = limit
	}
	var err error
	if s.hashes, err = t.first(pages); err != nil {
		return err
	}
	if body != nil {
		for _, l := range body.Lines {
			s.hashes[l.Page] = l.Hash
		}
	}
	return nil
}

func lastLine(body *patch.Body) int {
	if body == nil || len(body.Lines) == 0 {
		return -1
	}
	return body.Lines[len(body.Lines)-1].Page
}

// again looks at a page whose first reading was not what it should be: in the
// image, and then in the patch.
func (s *snapshot) again(r *reading, body *patch.Body, p int, want uint64, page []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	off := int64(p) * int64(len(page))
	n := 0
	if r.image != nil {
		var err error
		if n, err = r.image.ReadAt(page, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read page %d of %s: %w", p, patch.ImageFile, err)
		}
	}
	clear(page[n:])
	got := checksum.Sum64(page)
	if got != want && body != nil {
		if i, ok := body.Find(p); ok {
			if err := body.ReadPages(i, 1, page); err != nil {
				s.report(asDefect(patch.MemoryFile, err))
				return nil
			}
			got = want
		}
	}
	if got != want {
		s.report(pageDefect(p, off, want, got))
		return nil
	}
	return s.put(p, page)
}

func (s *snapshot) report(d *patch.Defect) {
	s.bad++
	s.defect(d)
}

// sort reports an error that is a defect, and returns any other.
func (s *snapshot) sort(err error) error {
	if d, ok := errors.AsType[*patch.Defect](err); ok {
		s.report(d)
		return nil
	}
	return err
}

// asDefect is the defect in err; an error of reading counts as one of file.
func asDefect(file string, err error) *patch.Defect {
	if d, ok := errors.AsType[*patch.Defect](err); ok {
		return d
	}
	return &patch.Defect{Class: patch.ErrDamaged, File: file, Page: -1, Offset: -1, Reason: err.Error()}
}
