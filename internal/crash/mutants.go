package crash

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"loomstore/internal/vfs"
	"loomstore/patch"
)

// mutant is one change of the protocol, made at the seam between the engine
// and the file system, so that production code has no switch for it. An
// explorer that does not notice one of them would not notice the mistake.
type mutant struct {
	name string
	via  func() middleware // nil: none
	loom func(*loom)       // changes of the driver, nil: none
	// opens is what the engine hears of an open, nil: the truth.
	opens func(name string, flag int, err error) error
}

// matches reports whether an operation's text (step.String) begins with
// one of the patterns, separated by "|".
func matches(s *step, patterns string) bool {
	text := s.String()
	for p := range strings.SplitSeq(patterns, "|") {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// without drops operations.
func without(patterns string) func() middleware {
	return func() middleware {
		return func(s *step, do func() error) error {
			if matches(s, patterns) {
				return nil
			}
			return do()
		}
	}
}

// withoutNth drops the nth of the matching operations after each open, from 0.
func withoutNth(pattern string, n int) func() middleware {
	return func() middleware {
		seen := 0
		return func(s *step, do func() error) error {
			if matches(s, pattern) {
				if seen++; seen == n+1 {
					return nil
				}
			}
			return do()
		}
	}
}

// late does the operations that match only after the next one that matches
// trigger.
func late(patterns, trigger string) func() middleware {
	return func() middleware {
		var held []func() error
		return func(s *step, do func() error) error {
			if matches(s, patterns) {
				s.Bytes = bytes.Clone(s.Bytes)
				held = append(held, do)
				return nil
			}
			err := do()
			if matches(s, trigger) {
				for _, do := range held {
					if err == nil {
						err = do()
					}
				}
				held = nil
			}
			return err
		}
	}
}

// deaf takes failed operations for successful ones.
func deaf(patterns string) func() middleware {
	return func() middleware {
		return func(s *step, do func() error) error {
			err := do()
			if matches(s, patterns) {
				return nil
			}
			return err
		}
	}
}

// edited changes the bytes of writes.
func edited(pattern string, edit func(s *step) []byte) func() middleware {
	return func() middleware {
		return func(s *step, do func() error) error {
			if matches(s, pattern) {
				s.Bytes = edit(s)
			}
			return do()
		}
	}
}

// clean sets the CLEAN flag of a header.
func clean(s *step) []byte {
	if len(s.Bytes) != patch.BlockSize || s.Off >= 2*patch.BlockSize {
		return s.Bytes
	}
	b := bytes.Clone(s.Bytes)
	b[72] |= 1
	patch.SealBlock(b)
	return b
}

// halved keeps only the first half of what is written.
func halved(s *step) []byte { return s.Bytes[:len(s.Bytes)/2] }

// stamped changes one byte of every block written, and the hash to fit.
func stamped(at int) func(s *step) []byte {
	return func(s *step) []byte {
		b := bytes.Clone(s.Bytes)
		for block := 0; block+patch.BlockSize <= len(b); block += patch.BlockSize {
			b[block+at] ^= 0xff
			patch.SealBlock(b[block : block+patch.BlockSize])
		}
		return b
	}
}

// absence takes an error of opening a file for its absence.
func absence(file string) func(string, int, error) error {
	return func(name string, _ int, err error) error {
		if path.Base(name) == file && errors.Is(err, syscall.EIO) {
			return fs.ErrNotExist
		}
		return err
	}
}

// mutated is the production engine behind a mutant.
type mutated struct {
	loom
	m mutant
}

func newMutated(base loom, m mutant) mutated {
	if m.loom != nil {
		m.loom(&base)
	}
	return mutated{base, m}
}

func (p mutated) open(fsys vfs.FS) (session, error) {
	if p.m.via != nil {
		fsys = &tap{FS: fsys, via: p.m.via()}
	}
	if p.m.opens != nil {
		fsys = &tap{FS: fsys, via: func(_ *step, do func() error) error { return do() }, opens: p.m.opens}
	}
	return p.loom.open(fsys)
}

// mutants are the changes that the explorer must notice, every one.
var mutants = []mutant{
	// Creation.
	{name: "creation: control.bin keeps its length 0", via: without("open: truncate control.bin")},
	{name: "creation: record 0 not written", via: without("open: write control.bin 0+8192")},
	{name: "creation and recovery: control.bin not synced", via: without("open: sync control.bin")},
	{name: "creation: the store's directory not synced", via: without("open: syncdir store")},
	{name: "creation: the directory above not synced", via: without("open: syncdir /")},
	{name: "creation: live mark not synced", via: withoutNth("open: sync sums.bin", 1)},
	{name: "creation: live mark before control.bin is synced", via: late("open: sync control.bin|open: sync memory.bin|open: syncdir store", "open: sync sums.bin")},
	{name: "creation: live mark not written", via: without("open: write sums.bin 0+4096")},

	// Stage.
	{name: "stage: body not synced", via: without("stage: sync memory.bin")},
	{name: "stage: one page of the body not written", via: without("stage: write memory.bin 4096")},
	{name: "stage: lines not written", via: without("stage: write memory.bin 0+4096")},
	{name: "stage: half of a run of pages not written", via: edited("stage: write memory.bin 4096", halved)},
	{name: "stage: header of a closed store not secured", via: without("stage: write sums.bin|stage: sync sums.bin")},
	{name: "stage: secured header not synced", via: without("stage: sync sums.bin")},
	{name: "stage: body after the record", via: late("stage: write memory.bin|stage: sync memory.bin", "commit: sync control.bin")},
	{name: "stage: body synced after the record is written", via: late("stage: sync memory.bin", "commit: write control.bin")},
	{name: "stage: body synced before it is written", via: late("stage: write memory.bin", "stage: sync memory.bin")},
	{name: "stage: acknowledged before it", loom: func(p *loom) { p.early = "stage" }},

	// Commit.
	{name: "commit: record not synced", via: without("commit: sync control.bin")},
	{name: "commit: record not written", via: without("commit: write control.bin")},
	{name: "commit: record synced before it is written", via: late("commit: write control.bin", "commit: sync control.bin")},
	{name: "commit: record synced after the image is written", via: late("commit: sync control.bin", "apply: write image.bin")},
	{name: "commit: record written after the image is synced", via: late("commit: write control.bin|commit: sync control.bin", "apply: sync image.bin")},
	{name: "commit: acknowledged before it", loom: func(p *loom) { p.early = "commit" }},
	{name: "commit: record of another epoch", via: edited("commit: write control.bin", stamped(40))},
	{name: "commit: record of another store", via: edited("commit: write control.bin", stamped(16))},
	{name: "commit: record with another old digest", via: edited("commit: write control.bin", stamped(72))},
	{name: "commit: record with another new digest", via: edited("commit: write control.bin", stamped(88))},

	// Apply.
	{name: "apply: image not synced", via: without("apply: sync image.bin")},
	{name: "apply: sums not synced", via: without("apply: sync sums.bin")},
	{name: "apply: neither synced", via: without("apply: sync")},
	{name: "apply: image synced before it is written", via: late("apply: write image.bin", "apply: sync image.bin")},
	{name: "apply: image synced before it is resized", via: late("apply: truncate image.bin", "apply: sync image.bin")},
	{name: "apply: sums synced before they are written", via: late("apply: write sums.bin", "apply: sync sums.bin")},
	{name: "apply: image not resized", via: without("apply: truncate image.bin")},
	{name: "apply: sums not resized", via: without("apply: truncate sums.bin")},
	{name: "apply: first run of pages skipped", via: withoutNth("apply: write image.bin", 0)},
	{name: "apply: last run of pages skipped", via: withoutNth("apply: write image.bin", 1)},
	{name: "apply: entries not updated", via: without("apply: write sums.bin 8192")},
	{name: "apply: header not written", via: without("apply: write sums.bin 0+4096|apply: write sums.bin 4096+4096")},
	{name: "apply: header CLEAN before the syncs", via: edited("apply: write sums.bin", clean)},
	{name: "apply: header of another epoch", via: edited("apply: write sums.bin 0+4096|apply: write sums.bin 4096+4096", stamped(32))},
	{name: "apply: header of another store", via: edited("apply: write sums.bin 0+4096|apply: write sums.bin 4096+4096", stamped(16))},

	// Recovery. Its operations have the phase open; a record is written there
	// one copy at a time.
	{name: "recovery: record not written again", via: without("open: write control.bin 0+4096|open: write control.bin 4096+4096|open: write control.bin 8192+4096|open: write control.bin 12288+4096")},
	{name: "recovery: both copies in flight at once", via: withoutNth("open: sync control.bin", 0)},
	{name: "recovery: image not synced", via: without("open: sync image.bin")},
	{name: "recovery: image not resized", via: without("open: truncate image.bin")},
	{name: "recovery: image not written", via: without("open: write image.bin")},
	{name: "recovery: image before the record", via: late("open: write control.bin 0+4096|open: write control.bin 4096+4096|open: write control.bin 8192+4096|open: write control.bin 12288+4096|open: sync control.bin", "open: sync image.bin")},
	{name: "recovery: sums not synced", via: without("open: sync sums.bin")},
	{name: "recovery: header not written", via: without("open: write sums.bin 0+4096|open: write sums.bin 4096+4096")},
	{name: "recovery: entries not written", via: without("open: write sums.bin 8192")},
	{name: "recovery: header CLEAN before the syncs", via: edited("open: write sums.bin", clean)},

	{name: "recovery: an error opening control.bin taken for absence", opens: absence(patch.ControlFile)},
	{name: "recovery: an error opening memory.bin taken for absence", opens: absence(patch.MemoryFile)},
	{name: "recovery: an error opening image.bin taken for absence", opens: absence(patch.ImageFile)},
	{name: "recovery: an error opening sums.bin taken for absence", opens: absence(patch.SumsFile)},

	// What a failed sync leaves where nothing had been written.
	{name: "stage: place of the body not renewed", via: without("stage: renew memory.bin")},
	{name: "stage: live mark not renewed", via: without("stage: renew sums.bin")},
	{name: "recovery: record not renewed", via: without("open: renew control.bin")},
	{name: "recovery: image not renewed", via: without("open: renew image.bin")},
	{name: "recovery: header not renewed", via: without("open: renew sums.bin 0+4096|open: renew sums.bin 4096+4096")},
	{name: "recovery: entries not renewed", via: without("open: renew sums.bin 8192")},

	// Close.
	{name: "close: CLEAN not written", via: without("close: write sums.bin")},

	// Errors taken for success.
	{name: "errors: failed sync of the body taken for success", via: deaf("stage: sync memory.bin")},
	{name: "errors: failed sync of the record taken for success", via: deaf("commit: sync control.bin")},
	{name: "errors: failed sync of the image taken for success", via: deaf("apply: sync image.bin")},
	{name: "errors: failed sync of the sums taken for success", via: deaf("apply: sync sums.bin")},
	{name: "errors: failed write of the body taken for success", via: deaf("stage: write memory.bin")},
	{name: "errors: failed write of the record taken for success", via: deaf("commit: write control.bin")},
	{name: "errors: failed write of the image taken for success", via: deaf("apply: write image.bin")},
	{name: "errors: failed write of the sums taken for success", via: deaf("apply: write sums.bin")},
}
