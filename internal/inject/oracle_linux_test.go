package inject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"loomstore/image"
	"loomstore/patch"
)

// state is what a store holds at one checkpoint.
type state struct {
	epoch uint64
	bytes []byte // the pages
	low   int64
	app   []byte
}

// same compares all but the epoch: a failed checkpoint's changes are part of
// the next one.
func (s state) same(other state) bool {
	return bytes.Equal(s.bytes, other.bytes) && s.low == other.low && bytes.Equal(s.app, other.app)
}

// load opens the store without injection, every page checked, and returns what
// it holds, and the store still open.
func load(dir string) (*image.Store, state, error) {
	s, _, err := image.Open(context.Background(), dir, &image.Options{Full: true})
	if err != nil {
		return nil, state{}, fmt.Errorf("does not open: %w", err)
	}
	st := s.State()
	found := state{epoch: st.Epoch, low: st.Low, app: slices.Clone(st.App), bytes: make([]byte, st.Pages*16384)}
	for p := range st.Pages {
		if err := s.ReadPage(p, found.bytes[p*16384:]); err != nil {
			return nil, state{}, errors.Join(err, s.Close(context.Background()))
		}
	}
	return s, found, nil
}

// reopen loads the store, takes the next checkpoint, closes it, and sees that
// the next opening has nothing to do and all of that (R8).
func reopen(dir string) (state, error) {
	ctx := context.Background()
	s, found, err := load(dir)
	if err != nil {
		return state{}, err
	}
	page := bytes.Repeat([]byte{0xa5}, 16384)
	staged, err := s.Stage(ctx, image.Change{Pages: []int{0}, Content: func(int) []byte { return page }, Low: max(found.low, 16384), App: found.app})
	if err == nil {
		err = s.Commit(staged)
	}
	if err == nil {
		err = s.Apply(ctx)
	}
	if err := errors.Join(err, s.Close(ctx)); err != nil {
		return state{}, fmt.Errorf("the next checkpoint: %w", err)
	}
	plan, err := image.Examine(ctx, dir, nil)
	if err != nil || plan.Action != image.ActionNone {
		return state{}, fmt.Errorf("closed in order, but then: %+v, %w", plan, err)
	}
	s, again, err := load(dir)
	if err != nil {
		return state{}, err
	}
	want := append(slices.Clone(page), found.bytes[min(16384, len(found.bytes)):]...)
	if again.epoch != found.epoch+1 || !bytes.Equal(again.bytes, want) {
		err = fmt.Errorf("the next checkpoint was epoch %d behind %d, or holds other bytes", again.epoch, found.epoch)
	}
	return found, errors.Join(err, s.Close(ctx))
}

// wholeStore are the files of which none may ever be missing (R9).
func wholeStore(dir string) error {
	for _, name := range []string{"control.bin", "memory.bin", "image.bin", "sums.bin", "lock"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// verdict says how a command took its injections, and whether it may.
func verdict(dir string, o outcome, injected []call) (string, error) {
	notes := 0
	for line := range strings.Lines(o.err) {
		if !strings.HasPrefix(line, "loomctl: plan: ") {
			notes++
		}
	}
	switch {
	case o.killed:
		return "killed", nil
	case o.code == 2 || strings.Contains(o.err, "goroutine "):
		return "", errors.New("the program broke down")
	case strings.Contains(o.err, "in doubt"):
		if o.code == 0 {
			return "", errors.New("in doubt, but it ended well")
		}
		return "in doubt", nil
	case o.code != 0 && notes == 0:
		return "", errors.New("failed without a word")
	case o.code != 0:
		if !slices.ContainsFunc(injected, func(c call) bool { return slices.Contains(codes(c), o.code) }) {
			return "", fmt.Errorf("exit code %d", o.code)
		}
		return "reported", nil
	case notes > 0:
		return "noted", nil
	}
	for _, c := range injected {
		if !mended(c, dir, o.calls) {
			return "", fmt.Errorf("nobody was told of %s", c.text)
		}
	}
	return "mended", nil
}

// codes are the exit codes that an error may lead to: of its class, see
// docs/cli-json.md.
func codes(c call) []int {
	switch {
	case c.errno == "ENOSPC" || c.errno == "EDQUOT":
		return []int{13}
	case c.name == "fcntl" && c.errno == "EAGAIN" && !strings.Contains(c.text, "F_UNLCK"):
		return []int{11}
	case c.name == "pread64":
		return []int{1, 3} // a copy calls a page that it can not read a defect
	}
	return []int{1}
}

// mended tells whether nothing need be said: the call was made again, or what
// it asked for was only a favour.
func mended(c call, dir string, calls []call) bool {
	switch c.name {
	case "sync_file_range", "mprotect":
		return true // where protecting is refused, comparing finds the stores
	case "pread64":
		if c.errno == "" {
			return true // the hashes tell, and the oracle of the state
		}
	case "newfstatat":
		if c.flag(3, "AT_SYMLINK_NOFOLLOW") {
			return true // os.Rename looks at what it replaces
		}
	case "openat":
		// A lock that may not be written is taken shared. A directory above that
		// may not be read is none that a creation has made.
		if c.errno == "EACCES" && (filepath.Base(c.path(1)) == "lock" || c.path(1) == filepath.Dir(dir)) {
			return true
		}
	case "fallocate", "ioctl":
		if c.errno == "EOPNOTSUPP" {
			return true
		}
	case "fcntl":
		if c.arg(1) != "F_OFD_SETLK" || strings.Contains(c.text, "l_len=0") {
			return true // package os, which asks and does not mind; or an unlock before a close, which unlocks too
		}
	case "unlinkat":
		if _, err := os.Lstat(c.path(1)); errors.Is(err, fs.ErrNotExist) {
			return true // it was not there
		}
	case "close":
		// Nothing can be lost by closing what was only read, or is synced.
		written := false
		for _, w := range calls {
			if w.arg(0) == c.arg(0) && w.errno == "" {
				written = w.name == "pwrite64" || w.name == "ftruncate" || written && w.name != "fdatasync"
			}
		}
		return !written
	}
	args := func(c call) []string {
		if c.name == "pread64" || c.name == "fstat" {
			return c.args[2:] // not the buffer
		}
		return c.args
	}
	behind := false
	for _, other := range calls {
		if other.text == c.text && other.pid == c.pid {
			behind = true
			continue
		}
		if behind && other.errno == "" && !other.injected && other.name == c.name && other.path(0) == c.path(0) && slices.Equal(args(other), args(c)) {
			return true
		}
	}
	return false
}

// checkRun is the oracle of loomctl run: each line that was printed is
// durable, and what is found is the state behind one line, not older than the
// last that was printed and not younger than the first that was not. refs are
// the states behind 0, 1, ... lines; the first line prints first.
func checkRun(refs []state, first int) func(string, outcome, []call) (string, error) {
	return func(dir string, o outcome, injected []call) (string, error) {
		if err := wholeStore(dir); err != nil {
			return "", err
		}
		acked := 0
		for line := range strings.Lines(o.out) {
			if line != strconv.Itoa(first+acked)+"\n" {
				return "", fmt.Errorf("line %d is %q", acked+1, line)
			}
			acked++
		}
		v, err := verdict(dir, o, injected)
		if err != nil {
			return "", err
		}
		if o.code == 0 && !o.killed && acked != len(refs)-1 {
			return "", fmt.Errorf("ended well behind %d lines of %d", acked, len(refs)-1)
		}
		// A checkpoint that failed is tried again behind the next line.
		begun := min(acked+1+strings.Count(o.err, "loomctl: loom: checkpoint"), len(refs)-1)
		found, err := reopen(dir)
		if err != nil {
			return "", err
		}
		for lines := acked; lines <= begun; lines++ {
			if !found.same(refs[lines]) {
				continue
			}
			if found.epoch < refs[0].epoch || acked > 0 && found.epoch == refs[0].epoch {
				return "", fmt.Errorf("epoch %d, began with %d", found.epoch, refs[0].epoch)
			}
			if v == "in doubt" && lines > acked {
				v += ", new state"
			} else if v == "in doubt" {
				v += ", old state"
			}
			return v, nil
		}
		for lines, ref := range refs {
			if found.same(ref) {
				return "", fmt.Errorf("found the state behind %d lines, %d were printed and %d begun", lines, acked, begun)
			}
		}
		return "", fmt.Errorf("epoch %d holds no state that ever was", found.epoch)
	}
}

// checkLied is checkRun for a kernel that says it has written bytes and has not:
// no engine can save them, but what is found is one of the states, or refused.
func checkLied(refs []state) func(string, outcome, []call) (string, error) {
	return func(dir string, o outcome, injected []call) (string, error) {
		s, found, err := load(dir)
		if errors.Is(err, patch.ErrDamaged) || errors.Is(err, patch.ErrMismatch) {
			return "damage found", nil
		}
		if err != nil {
			return "", err
		}
		if err := s.Close(context.Background()); err != nil {
			return "", err
		}
		// A record that was swallowed whole is a record that was not written.
		if !slices.ContainsFunc(refs, found.same) {
			return "", fmt.Errorf("epoch %d holds no state that ever was", found.epoch)
		}
		return "exact", nil
	}
}

// checkSame is the oracle of a command that brings a store into order: it holds
// one state, whatever happens.
func checkSame(want state) func(string, outcome, []call) (string, error) {
	return func(dir string, o outcome, injected []call) (string, error) {
		v, err := verdict(dir, o, injected)
		if err != nil {
			return "", err
		}
		found, err := reopen(dir)
		if err != nil {
			return "", err
		}
		if !found.same(want) {
			return "", fmt.Errorf("epoch %d holds something else", found.epoch)
		}
		return v, nil
	}
}

// checkCopy is the oracle of loomctl backup: the copy is whole or not there,
// and there if it was said to be; the store is as it was.
func checkCopy(want state) func(string, outcome, []call) (string, error) {
	source := checkSame(want)
	return func(dir string, o outcome, injected []call) (string, error) {
		v, err := source(dir, o, injected)
		if err != nil {
			return "", err
		}
		copied, err := reopen(dir + "-copy")
		switch {
		case errors.Is(err, image.ErrNotStore) && (o.killed || o.code != 0):
			left, err := filepath.Glob(dir + "-copy*")
			cleaned := !slices.ContainsFunc(injected, func(c call) bool { return c.name == "unlinkat" || c.name == "getdents64" })
			if !o.killed && cleaned && len(left) > 0 {
				err = fmt.Errorf("left behind: %v", left)
			}
			return v, err
		case err != nil:
			return "", fmt.Errorf("copy: %w", err)
		case !copied.same(want):
			return "", errors.New("the copy holds something else")
		}
		return v, nil
	}
}

// checkCreation is the oracle of loomctl run on nothing: the line was printed
// and is durable, or a store can be made there.
func checkCreation(r *rig) func(string, outcome, []call) (string, error) {
	return func(dir string, o outcome, injected []call) (string, error) {
		v, err := verdict(dir, o, injected)
		if err != nil {
			return "", err
		}
		again := r.command("globalThis.n ?? 0\n", "run", dir)
		out, err := again.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("does not run again: %w\n%s", err, out)
		}
		if string(out) != "1\n" && (o.out != "" || string(out) != "0\n") {
			return "", fmt.Errorf("printed %q, then %q", o.out, out)
		}
		if _, err := reopen(dir); err != nil {
			return "", err
		}
		return v, wholeStore(dir)
	}
}
