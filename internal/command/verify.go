package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"loomstore/image"
	"loomstore/patch"
)

// verifyDocument is the end of the document of `verify --json`
// (docs/cli-json.md); the defects stand before it.
type verifyDocument struct {
	Quick   bool   `json:"quick"`
	Store   string `json:"store"`
	Epoch   uint64 `json:"epoch"`
	Pages   int    `json:"pages"`
	Checked int    `json:"checked"`
	Digest  string `json:"digest"`
	Count   int    `json:"defect_count"`
	HeldNS  int64  `json:"held_ns"`
	*outcome
}

// outcome is there if the store could not be looked at to the end.
type outcome struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func newVerify(s *streams) *cobra.Command {
	var quick, asJSON bool
	c := &cobra.Command{
		Use:   "verify [--quick] DIR",
		Short: "compare every page of a store with its hash",
		Long: `Compare every page of the last committed checkpoint of the store in DIR with its
hash, and the hashes with the commit record. Nothing is written, and a program
may have the store open and go on. Each defect is one line: file, page, offset,
what was expected, what was found.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if asJSON {
				return s.verifyJSON(c.Context(), args[0], quick)
			}
			return s.verify(c.Context(), args[0], quick)
		},
	}
	c.Flags().BoolVar(&quick, "quick", false, "leave out the pages of image.bin: all that opening the store relies on")
	addJSON(c, &asJSON)
	return c
}

// runVerify verifies and makes defects an error.
func (s *streams) runVerify(ctx context.Context, dir string, quick bool, each func(*patch.Defect)) (image.VerifyReport, error) {
	var report image.VerifyReport
	var err error
	if quick {
		report, err = image.VerifyQuick(ctx, dir, nil, each)
	} else {
		p := s.newProgress("verify")
		defer p.end()
		report, err = image.Verify(ctx, dir, nil, func(d *patch.Defect) { p.end(); each(d) }, p.callback())
	}
	if err == nil && report.Defects > 0 {
		err = &exitError{code: ExitDamaged, err: fmt.Errorf("%s: %d defects", dir, report.Defects), hint: "a backup may still be whole; loomctl recover --dry-run tells what opening the store does"}
	}
	return report, err
}

func (s *streams) verify(ctx context.Context, dir string, quick bool) error {
	var writeErr error
	report, err := s.runVerify(ctx, dir, quick, func(d *patch.Defect) {
		if writeErr == nil {
			_, writeErr = fmt.Fprintln(s.out, defectLine(d))
		}
	})
	if err == nil {
		err = writeErr
	}
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d pages", report.Pages)
	if quick {
		what = "quick"
	}
	_, err = fmt.Fprintf(s.out, "%s: ok: epoch %d, %s, digest %s\n", dir, report.State.Epoch, what, report.State.Digest)
	return err
}

// defectLine is file, page, offset, want and got, "-" where there is none, and
// the reason.
func defectLine(d *patch.Defect) string {
	number := func(n int64) string {
		if n < 0 {
			return "-"
		}
		return fmt.Sprint(n)
	}
	text := func(v string) string {
		if v == "" {
			return "-"
		}
		return v
	}
	return fmt.Sprintf("%s: page %s: offset %s: want %s: got %s: %s", d.File, number(d.Page), number(d.Offset), text(d.Want), text(d.Got), d.Reason)
}

// verifyJSON writes the document piece by piece: there may be millions of
// defects.
func (s *streams) verifyJSON(ctx context.Context, dir string, quick bool) error {
	w := &jsonWriter{w: s.out}
	w.raw("{\n  \"schema\": %d,\n  \"dir\": ", schema)
	w.value(dir)
	w.raw(",\n  \"defects\": [")
	comma := ""
	report, err := s.runVerify(ctx, dir, quick, func(d *patch.Defect) {
		w.raw("%s\n    ", comma)
		w.value(newDefect(d))
		comma = ","
	})
	w.raw("\n  ],\n")
	end := verifyDocument{Quick: quick, Store: report.State.Store.String(), Epoch: report.State.Epoch, Pages: report.State.Pages,
		Checked: report.Pages, Digest: report.State.Digest.String(), Count: report.Defects, HeldNS: report.Held.Nanoseconds()}
	if err != nil {
		code, _ := classify(err)
		end.outcome = &outcome{Code: codeName(code), Message: message(code, err)}
	}
	w.members(end)
	w.raw("}\n")
	if err == nil {
		err = w.err
	}
	return err
}

// jsonWriter writes the pieces of a document until the first error.
type jsonWriter struct {
	w   io.Writer
	err error
}

func (j *jsonWriter) raw(format string, args ...any) {
	if j.err == nil {
		_, j.err = fmt.Fprintf(j.w, format, args...)
	}
}

func (j *jsonWriter) value(v any) {
	b, err := json.Marshal(v)
	if j.err == nil {
		j.err = err
	}
	j.raw("%s", b)
}

// members writes what is between the braces of v.
func (j *jsonWriter) members(v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if j.err == nil {
		j.err = err
	}
	if len(b) > 4 {
		j.raw("%s\n", b[2:len(b)-2])
	}
}
