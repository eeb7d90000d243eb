package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tally counts crash states by what became of the store.
type tally [outcomes]int

func (t *tally) add(o tally) {
	for i, n := range o {
		t[i] += n
	}
}

func (t tally) states() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

func (t tally) bad() int { return t.states() - t[whole] }

func (t tally) String() string {
	return fmt.Sprintf("%d states: torn %d, lost %d, unavailable %d, savefail %d, unmountable %d",
		t.states(), t[torn], t[lost], t[unavailable], t[saveFails], t[unmountable])
}

// checker examines stores in a process that lives from state to state.
type checker struct {
	child    *child
	loomctl  string         // the production binary, or ""
	keepDir  string         // where the disks of violations are kept, or ""
	kept     map[string]int // of each store
	report   func(string)
	reported int
}

func (c *checker) close() {
	if c.child != nil {
		_ = c.child.end()
		c.child = nil
	}
}

// examine has one store examined. A child that dies of it is a finding too.
func (c *checker) examine(ctx context.Context, d driver, dir string, l ledger) *finding {
	if c.child == nil {
		var err error
		if c.child, err = newChild(ctx); err != nil {
			return bad(unavailable, "start the checker: %w", err)
		}
	}
	a, err := c.child.do(job{Store: d.name, Dir: dir, Ledger: l, Examine: true})
	if err != nil {
		if end := c.child.end(); !errors.Is(err, errSilent) {
			err = fmt.Errorf("the process that opened it died: %w", errors.Join(err, end))
		}
		c.child = nil
		return bad(unavailable, "%w", err)
	}
	if a.What != whole {
		return &finding{a.What, errors.New(a.Err)}
	}
	return nil
}

// trial makes crash states of a recording, mounts each, and has the store in
// it examined. It ends early, without an error, when ctx does.
func (r *rig) trial(ctx context.Context, rng *rand.Rand, c *checker, d driver, rec recording, what string, budget int) (t tally, err error) {
	note := func(f *finding, where string) {
		t[f.what]++
		if c.reported++; c.reported <= 20 {
			c.report(fmt.Sprintf("%s, %s: %v%s", what, where, f, c.keep(r, d)))
		}
	}
	if rec.live != nil {
		note(rec.live, "live")
	}
	p := &replay{log: rec.log, durable: rec.base, ledger: rec.ledger.clone()}
	known := map[uint64]bool{}
	for i, cut := range cuts(rng, rec.log, budget) {
		p.to(cut.pos)
		kept := pieces(rng, p.pending, cut.keep, r.fs.whole)
		if sig := p.signature(kept); known[sig] {
			continue
		} else {
			known[sig] = true
		}
		where := fmt.Sprintf("behind event %d of %d, %d pending, keeping %v", cut.pos, len(p.log), len(p.pending), cut.keep)
		f, err := r.try(ctx, c, d, p, kept, i == 0)
		if ctx.Err() != nil {
			return t, err
		}
		if err != nil {
			return t, fmt.Errorf("%s, %s: %w", what, where, err)
		}
		if f == nil {
			t[whole]++
			continue
		}
		r.disk.reset(p.durable, kept)
		note(f, where)
	}
	return t, nil
}

// try looks at one state; with the production command first if asked.
func (r *rig) try(ctx context.Context, c *checker, d driver, p *replay, kept []event, command bool) (f *finding, err error) {
	r.disk.reset(p.durable, kept)
	if err := r.mount(); err != nil {
		return bad(unmountable, "%w", err), nil
	}
	defer func() {
		if umountErr := r.umount(); umountErr != nil {
			// A process that went on after a finding may hold files.
			c.close()
			umountErr = r.umount()
			err = errors.Join(err, umountErr)
		}
	}()
	if command && d.name == "loom" && c.loomctl != "" {
		if f := r.loomctl(c.loomctl); f != nil {
			return f, nil
		}
	}
	return c.examine(ctx, d, r.store(), p.ledger.clone()), nil
}

// loomctl recovers and verifies the store with the production binary. A store
// that was not yet made is not one.
func (r *rig) loomctl(binary string) *finding {
	const notStore = 10
	for _, verb := range []string{"recover", "verify"} {
		out, err := exec.Command(binary, verb, r.store()).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == notStore {
			return nil
		}
		if err != nil {
			return bad(unavailable, "loomctl %s: %w: %s", verb, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// keep writes the disk of a violation to a file, for a look at leisure, and
// says so.
func (c *checker) keep(r *rig, d driver) string {
	if c.keepDir == "" || c.kept[d.name] >= 5 {
		return ""
	}
	c.kept[d.name]++
	name := filepath.Join(c.keepDir, fmt.Sprintf("%s-%s-%d.img", d.name, r.fs.name, c.kept[d.name]))
	if err := r.disk.dump(name); err != nil {
		return fmt.Sprintf(" (not kept: %v)", err)
	}
	return " (kept in " + name + ")"
}

// dump writes the disk as a sparse file.
func (d *disk) dump(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, layer := range []content{d.base, d.over} {
		for n, b := range layer {
			if _, err := f.WriteAt(b[:], n*blockSize); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	return errors.Join(f.Truncate(d.size), f.Close())
}

// fsck checks that the file system is whole after everything that was
// recorded: a rig that loses a write shows here.
func (r *rig) fsck(rec recording) error {
	all := make([]event, 0, len(rec.log))
	for _, e := range rec.log {
		if e.kind == written {
			all = append(all, e)
		}
	}
	r.disk.reset(rec.base, all)
	if err := r.mount(); err != nil {
		return err
	}
	if err := errors.Join(r.sync(), r.umount()); err != nil {
		return err
	}
	return command(append(slices.Clone(r.fs.check), r.loop))
}
