package command

import (
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// schema is the version of every document in docs/cli-json.md. Fields may be
// added under one number; their names and meaning do not change.
const schema = 1

// jsonFlag is the flag by which a command prints one document instead of
// lines. Every command that has it calls it so: a failure looks for the name.
const jsonFlag = "json"

func addJSON(c *cobra.Command, on *bool) {
	c.Flags().BoolVar(on, jsonFlag, false, "print one JSON document (docs/cli-json.md)")
}

// wantsJSON reports whether c, which failed with code, was to print a document.
// A command line that could not be parsed is searched for the word.
func wantsJSON(c *cobra.Command, args []string, code int) bool {
	if f := c.Flags().Lookup(jsonFlag); f != nil && f.Changed {
		return f.Value.String() == "true"
	}
	return code == ExitUsage && slices.Contains(args, "--"+jsonFlag)
}

// document prints one JSON document on stdout.
func (s *streams) document(v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// failure is the document of a command that could not do what it was asked.
// What is not known is left out.
type failure struct {
	Schema    int     `json:"schema"`
	Code      string  `json:"code"`
	Message   string  `json:"message"`
	PID       int     `json:"pid,omitempty"`
	Needed    *int64  `json:"needed,omitempty"`
	Available *int64  `json:"available,omitempty"`
	Defect    *defect `json:"defect,omitempty"`
}

// defect is a *patch.Defect; page and offset are null where none is meant.
type defect struct {
	File   string `json:"file"`
	Page   *int64 `json:"page"`
	Offset *int64 `json:"offset"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Reason string `json:"reason"`
}

func newDefect(d *patch.Defect) *defect {
	return &defect{File: d.File, Page: known(d.Page), Offset: known(d.Offset), Want: d.Want, Got: d.Got, Reason: d.Reason}
}

// known is nil for the -1 of a number that is not known.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func newFailure(code int, err error) failure {
	f := failure{Schema: schema, Code: codeName(code), Message: message(code, err)}
	if locked, ok := errors.AsType[*vfs.LockedError](err); ok {
		f.PID = locked.PID
	}
	if full, ok := errors.AsType[*image.NoSpaceError](err); ok {
		f.Needed, f.Available = &full.Need, known(full.Available)
	}
	if d, ok := errors.AsType[*patch.Defect](err); ok {
		f.Defect = newDefect(d)
	}
	return f
}

// counter counts what was written to stdout, where a document is printed only
// once, and keeps the first error of that.
type counter struct {
	io.Writer
	n      int64
	failed error
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	if c.failed == nil {
		c.failed = err
	}
	return n, err
}
