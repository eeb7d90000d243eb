package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"
)

// campaign is one run of the rig.
type campaign struct {
	states   int    // to try in all
	seed     uint64 // to begin with
	each     int    // states of one recording
	progress string // file to resume from, or ""
	loomctl  string // the production binary, or ""
	keep     string // directory for the disks of violations, or ""
	quiet    bool   // no line for each recording
	write    string // file for the table, or ""

	session *session
	began   time.Time

	mu  sync.Mutex
	out io.Writer
	// done is what was tried so far, by file system and store.
	done map[string]*progress
}

// progress is how far one store on one file system has come.
type progress struct {
	Next   uint64 // seed
	Scenes [scenes]tally
}

func (p *progress) total() (t tally) {
	for _, s := range p.Scenes {
		t.add(s)
	}
	return t
}

func (c *campaign) printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format, args...)
}

// load reads the progress of an earlier run.
func (c *campaign) load() error {
	c.done = map[string]*progress{}
	if c.progress == "" {
		return nil
	}
	b, err := os.ReadFile(c.progress)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c.done)
	}
	return err
}

// at returns the progress of a pair.
func (c *campaign) at(f filesystem, d driver) *progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := f.name + " " + d.name
	if c.done[name] == nil {
		c.done[name] = &progress{Next: c.seed}
	}
	return c.done[name]
}

// enter adds what a recording came to, and saves the progress.
func (c *campaign) enter(p *progress, s scene, t tally) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Scenes[s].add(t)
	p.Next++
	if c.progress == "" {
		return nil
	}
	b, err := json.Marshal(c.done)
	if err == nil {
		err = os.WriteFile(c.progress, b, 0o644)
	}
	return err
}

// survey tries stores on file systems, every file system at its own pace,
// until each pair has its share of the states.
func (c *campaign) survey(ctx context.Context, list []filesystem, stores []driver) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, f := range list {
		wg.Go(func() {
			errs[i] = c.on(f, func(r *rig, k *checker) error {
				for _, d := range stores {
					if err := c.pair(ctx, r, k, d, c.states/len(list)/len(stores)); err != nil {
						return fmt.Errorf("%s on %s: %w", d.name, f.name, err)
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	return errors.Join(append(errs, context.Cause(ctx))...)
}

// on builds a rig, works with it, and takes it down.
func (c *campaign) on(f filesystem, work func(*rig, *checker) error) error {
	r, err := c.session.newRig(f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	k := &checker{loomctl: c.loomctl, keepDir: c.keep, report: func(line string) { c.printf("%s\n", line) }}
	err = work(r, k)
	k.close()
	return errors.Join(err, r.close())
}

// pair tries one store on one file system until it has enough states.
func (c *campaign) pair(ctx context.Context, r *rig, k *checker, d driver, enough int) error {
	p := c.at(r.fs, d)
	for first := true; p.total().states() < enough && ctx.Err() == nil; first = false {
		seed, began := p.Next, time.Now()
		s := scene(seed % uint64(scenes))
		what := fmt.Sprintf("%s on %s, seed %d, %v", d.name, r.fs.name, seed, s)
		rng := rand.New(rand.NewPCG(seed, 7))
		rec, err := r.record(rng, d, s, "")
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		if first && s != failCut {
			if err := r.fsck(rec); err != nil {
				return fmt.Errorf("seed %d: the file system is not whole without a crash: %w", seed, err)
			}
		}
		t, err := r.trial(rng, k, d, rec, what, min(c.each, enough-p.total().states()))
		if err != nil {
			return err
		}
		if err := c.enter(p, s, t); err != nil {
			return err
		}
		if !c.quiet {
			c.printf("%s: %d events, %v, %.0f/s\n", what, len(rec.log), t, float64(t.states())/time.Since(began).Seconds())
		}
	}
	return nil
}

// control must find what is known of vere's protocol (W5): killed between the
// two syncs of a patch, it applies what was never synced.
func (c *campaign) control(ctx context.Context, list []filesystem) error {
	d, err := driverNamed("vere")
	if err != nil {
		return err
	}
	for _, f := range list {
		if f.name != "ext4" && f.name != "xfs" {
			continue
		}
		var t tally
		err := c.on(f, func(r *rig, k *checker) error {
			k.report = func(string) {}
			for seed := uint64(1); seed <= 20 && t[torn] == 0 && ctx.Err() == nil; seed++ {
				rng := rand.New(rand.NewPCG(seed, 5))
				rec, err := r.record(rng, d, killCut, "sync memory.bin")
				if err != nil {
					return err
				}
				more, err := r.trial(rng, k, d, rec, "control", c.each)
				if err != nil {
					return err
				}
				t.add(more)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("control on %s: %w", f.name, err)
		}
		if ctx.Err() == nil && t[torn] == 0 {
			return fmt.Errorf("control: vere's protocol, killed between its syncs, was not torn on %s in %d states: the rig sees nothing", f.name, t.states())
		}
		c.printf("control: vere's protocol on %s, killed between its syncs (W5): %v\n", f.name, t)
	}
	return nil
}

// table is the summary: one line for each file system and store.
func (c *campaign) table(list []filesystem, stores []driver) string {
	var b strings.Builder
	b.WriteString("| store | file system | cut | kill + cut | EIO + cut | torn | lost | unavailable | savefail | unmountable |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, d := range stores {
		for _, f := range list {
			p := c.at(f, d)
			fmt.Fprintf(&b, "| %s | %s |", d.name, f.name)
			for _, t := range p.Scenes {
				fmt.Fprintf(&b, " %s |", t.brief())
			}
			t := p.total()
			fmt.Fprintf(&b, " %d | %d | %d | %d | %d |\n", t[torn], t[lost], t[unavailable], t[saveFails], t[unmountable])
		}
	}
	return b.String()
}

// brief is "states" or "states, bad".
func (t tally) brief() string {
	if t.bad() == 0 {
		return fmt.Sprint(t.states())
	}
	return fmt.Sprintf("%d, %d bad", t.states(), t.bad())
}

// document is the table as a page of docs.
func (c *campaign) document(list []filesystem, stores []driver) string {
	var b strings.Builder
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Fprintf(&b, `# Power cuts: the store and its peers

Written by %s on %s, Linux %s, from seed %d, in %.0f s.

Every store takes the same checkpoints of 16 KiB pages, growing and shrinking, on the same recording disk. The columns in the middle are
crash states, and how many of them were bad: after nothing, after the process was killed and another had recovered, after some writes of the
disk had ended in EIO and another process had recovered. Then what was bad. Lost is an acknowledged commit; savefail is a store that opens and
then fails; [crash-safety.md](crash-safety.md) says how the states are made.

`, "`make crash-peers`", time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(kernel)), c.seed, time.Since(c.began).Seconds())
	b.WriteString(c.table(list, stores))
	for _, d := range stores {
		if d.limit != "" {
			fmt.Fprintf(&b, "\n- %s: %s.", d.name, d.limit)
		}
	}
	b.WriteString("\n")
	return b.String()
}
