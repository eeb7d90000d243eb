package command

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"loomstore/image"
)

// patchDocument is the document of `patch --json` (docs/cli-json.md).
type patchDocument struct {
	Schema    int           `json:"schema"`
	Layout    string        `json:"layout"`
	Records   []patchRecord `json:"records"`
	Lines     []patchLine   `json:"lines"`
	BodyError *string       `json:"body_error"`
}

type patchRecord struct {
	Offset int64  `json:"offset"`
	State  string `json:"state"` // valid, empty or invalid
	*commitRecord
}

// commitRecord are the fields of a valid record.
type commitRecord struct {
	Store      string `json:"store"`
	Base       uint64 `json:"base"`
	Epoch      uint64 `json:"epoch"`
	Rewrite    uint64 `json:"rewrite"`
	OldPages   int    `json:"old_pages"`
	NewPages   int    `json:"new_pages"`
	Low        int64  `json:"low_watermark"`
	OldDigest  string `json:"old_digest"`
	NewDigest  string `json:"new_digest"`
	Lines      int    `json:"lines"`
	BodyOffset int64  `json:"body_offset"`
	LinesHash  string `json:"lines_hash"`
	AppRecord  string `json:"app_record"`
}

type patchLine struct {
	Page int64  `json:"page"`
	Hash string `json:"hash"`
}

func newPatchDocument(p *image.Patches) patchDocument {
	d := patchDocument{Schema: schema, Layout: string(p.Layout), Records: []patchRecord{}, Lines: []patchLine{}}
	for _, at := range p.Records {
		r := patchRecord{Offset: at.Offset, State: "invalid"}
		switch {
		case at.Record != nil:
			c := at.Record
			r.State = "valid"
			r.commitRecord = &commitRecord{Store: c.Store.String(), Base: c.Base, Epoch: c.Epoch, Rewrite: c.Rewrite, OldPages: c.OldPages,
				NewPages: c.NewPages, Low: c.Low, OldDigest: c.OldDigest.String(), NewDigest: c.NewDigest.String(), Lines: c.Lines,
				BodyOffset: c.BodyOffset, LinesHash: hash64(c.LinesHash), AppRecord: fmt.Sprintf("%x", c.App)}
		case at.Zero:
			r.State = "empty"
		}
		d.Records = append(d.Records, r)
	}
	for _, l := range p.Lines {
		d.Lines = append(d.Lines, patchLine{Page: int64(l.Page), Hash: hash64(l.Hash)})
	}
	if p.Vere != nil {
		for i := range p.Vere.Len() {
			l := p.Vere.Line(i)
			d.Lines = append(d.Lines, patchLine{Page: l.Page, Hash: fmt.Sprintf("%08x", l.Hash)})
		}
	}
	if p.BodyErr != nil {
		text := p.BodyErr.Error()
		d.BodyError = &text
	}
	return d
}

func hash64(h uint64) string { return fmt.Sprintf("%016x", h) }

func newPatch(s *streams) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "patch DIR",
		Short: "list the commit records of a store and the lines of the newest",
		Long: `List the four commit records in control.bin, and the pages and hashes of the
patch in memory.bin that belongs to the newest. Nothing is written and no lock
is taken. A store that was closed does not need its patch any more: part of it
may be gone. Of a vere snapshot the pages and hashes of its patch are listed.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := image.InspectPatches(args[0], nil)
			if err != nil {
				return err
			}
			d := newPatchDocument(p)
			if asJSON {
				return s.document(d)
			}
			return d.print(s.out)
		},
	}
	addJSON(c, &asJSON)
	return c
}

func (d patchDocument) print(w io.Writer) error {
	for _, r := range d.Records {
		line := fmt.Sprintf("record %5d: %s", r.Offset, r.State)
		if c := r.commitRecord; c != nil {
			line = fmt.Sprintf("record %5d: epoch %d on %d, rewrite %d, %d to %d pages, %d lines at %d, digest %s",
				r.Offset, c.Epoch, c.Base, c.Rewrite, c.OldPages, c.NewPages, c.Lines, c.BodyOffset, c.NewDigest)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	for _, l := range d.Lines {
		if _, err := fmt.Fprintf(w, "line page %d: %s\n", l.Page, l.Hash); err != nil {
			return err
		}
	}
	if d.BodyError != nil {
		_, err := fmt.Fprintf(w, "no lines: %s\n", *d.BodyError)
		return err
	}
	return nil
}
