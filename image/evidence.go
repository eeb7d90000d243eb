package image

import (
	"errors"
	"fmt"
	"io"

	"loomstore/patch"
)

// native fills in the evidence for patch.Decide.
func (r *reading) native() error {
	g := r.o.Geometry
	if r.control != nil {
		var err error
		if r.x.control, err = patch.ReadControl(r.control, r.controlLen, g); err != nil {
			return err
		}
	}
	if err := r.bounded(); err != nil {
		return err
	}
	var err error
	r.x.verdict, err = patch.Decide(&patch.Evidence{
		Control:          r.x.control,
		Header:           r.x.header,
		LengthsExact:     r.lengthsExact,
		LengthBetween:    r.lengthBetween,
		Body:             r.readBody,
		TableFits:        r.tableFits,
		PatchedImageFits: r.patchedImageFits,
		ImageFits:        r.imageFits,
	})
	return err
}

// bounded refuses page counts beyond the arena before any proof counts to them
// (R10).
func (r *reading) bounded() error {
	pages := 0
	if h := r.x.header; h != nil {
		pages = h.Pages
	}
	if r.x.control != nil {
		for _, slot := range r.x.control.Slots {
			if rec := slot.Newest(); rec != nil {
				pages = max(pages, rec.OldPages, rec.NewPages)
			}
		}
	}
	return r.o.fits(pages)
}

func (r *reading) lengthsExact(pages int) error {
	if want := int64(pages) * int64(r.o.Geometry.PageSize); r.imageLen != want {
		return lengthDefect(patch.ImageFile, want, want, r.imageLen)
	}
	if want := sumsLen(pages); r.sumsLen != want {
		return lengthDefect(patch.SumsFile, want, want, r.sumsLen)
	}
	return nil
}

func (r *reading) lengthBetween(rec *patch.Record) error {
	size := int64(r.o.Geometry.PageSize)
	lo, hi := int64(min(rec.OldPages, rec.NewPages))*size, int64(max(rec.OldPages, rec.NewPages))*size
	if r.imageLen < lo || r.imageLen > hi {
		return lengthDefect(patch.ImageFile, lo, hi, r.imageLen)
	}
	return nil
}

func lengthDefect(file string, lo, hi, got int64) *patch.Defect {
	want := fmt.Sprintf("%d bytes", lo)
	if hi != lo {
		want = fmt.Sprintf("%d to %d bytes", lo, hi)
	}
	return &patch.Defect{Class: patch.ErrDamaged, File: file, Page: -1, Offset: got, Want: want,
		Got: fmt.Sprintf("%d bytes", got), Reason: "length"}
}

// readBody proves the lines and every page of the record's body.
func (r *reading) readBody(rec *patch.Record) error {
	var source io.ReaderAt = r.memory
	if r.memory == nil {
		if rec.Lines > 0 {
			return &patch.Defect{Class: patch.ErrDamaged, File: patch.MemoryFile, Page: -1, Offset: -1, Reason: "missing"}
		}
		source = nil
	}
	body, err := patch.ReadBody(source, r.memoryLen, rec, r.o.Geometry)
	if err != nil {
		return err
	}
	err = inChunks(r.ctx, r.o.Workers, len(body.Lines), func(from, to int, c *scratch) error {
		return body.ReadPages(from, to-from, c.bytes((to-from)*r.o.Geometry.PageSize))
	})
	if err == nil {
		r.x.body = body
	}
	return err
}

// entries is how many entries of sums.bin belong to the image that rec was
// made on.
func (r *reading) entries(rec *patch.Record) int {
	return int(min(int64(rec.OldPages), max(r.sumsLen-tableOffset, 0)/entrySize))
}

func (r *reading) tableFits(rec *patch.Record) error {
	t := newTable(r.sums, r.o.Geometry, r.entries(rec))
	var d patch.Digest
	lines := r.x.body.Lines
	for p := range rec.NewPages {
		var hash uint64
		if len(lines) > 0 && lines[0].Page == p {
			hash, lines = lines[0].Hash, lines[1:]
		} else if p < rec.OldPages {
			var err error
			if hash, err = t.get(p); err != nil {
				return err
			}
		} else {
			hash = t.zeroHash
		}
		d = d.Add(p, hash)
	}
	if d != rec.NewDigest {
		return &patch.Defect{Class: patch.ErrDamaged, File: patch.SumsFile, Page: -1, Offset: tableOffset,
			Want: rec.NewDigest.String(), Got: d.String(), Reason: "digest of the table with the patch"}
	}
	return nil
}

func (r *reading) patchedImageFits(rec *patch.Record) error {
	return r.proveImage(rec.NewPages, rec.NewDigest, r.x.body)
}

func (r *reading) imageFits(pages int, d patch.Digest) error {
	if want := int64(pages) * int64(r.o.Geometry.PageSize); r.imageLen != want {
		return lengthDefect(patch.ImageFile, want, want, r.imageLen)
	}
	return r.proveImage(pages, d, nil)
}

// proveImage hashes the image, with the body laid over it, and names the pages
// that differ from sums.bin where the digest is not d.
func (r *reading) proveImage(pages int, d patch.Digest, body *patch.Body) error {
	var source io.ReaderAt = r.image
	if r.image == nil {
		source = emptyFile{}
	}
	hashes, err := r.o.scanner().sums(r.ctx, source, pages, body)
	if err != nil {
		return err
	}
	got := digestOf(hashes)
	if got == d {
		r.x.hashes = hashes
		return nil
	}
	defects := []error{&patch.Defect{Class: patch.ErrDamaged, File: patch.ImageFile, Page: -1, Offset: -1,
		Want: d.String(), Got: got.String(), Reason: "digest of all pages"}}
	return errors.Join(append(defects, r.badPages(hashes, body)...)...)
}

// badPages names up to eight pages whose hash is not the one in sums.bin.
func (r *reading) badPages(hashes []uint64, body *patch.Body) []error {
	if r.sums == nil {
		return nil
	}
	t := newTable(r.sums, r.o.Geometry, int(max(r.sumsLen-tableOffset, 0)/entrySize))
	var bad []error
	for p, got := range hashes {
		if p >= t.onDisk || len(bad) == 8 {
			break
		}
		if body != nil {
			if _, covered := body.Find(p); covered {
				continue
			}
		}
		if want, err := t.get(p); err == nil && want != got {
			bad = append(bad, pageDefect(p, int64(p)*int64(r.o.Geometry.PageSize), want, got))
		}
	}
	return bad
}

// emptyFile reads as a file of length 0.
type emptyFile struct{}

func (emptyFile) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
