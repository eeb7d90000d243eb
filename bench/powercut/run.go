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
	peers    bool   // drive the peers too

	controls []string // what the control found

	session *session
	began   time.Time

	mu  sync.Mutex
	out io.Writer
	// done is what was tried so far, by file system and store.
	done map[string]*progress
}

// progress is how far one store on one file system has come.
type progress struct {
	Next    uint64 // seed
	Scenes  [scenes]tally
	Seconds float64
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

// enter adds what a recording came to, and saves the progress: a run that is
// killed meanwhile leaves the old file or the new one.
func (c *campaign) enter(p *progress, s scene, t tally, took time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Scenes[s].add(t)
	p.Seconds += took.Seconds()
	p.Next++
	if c.progress == "" {
		return nil
	}
	b, err := json.Marshal(c.done)
	if err == nil {
		err = os.WriteFile(c.progress+".new", b, 0o644)
	}
	if err == nil {
		err = os.Rename(c.progress+".new", c.progress)
	}
	return err
}

// share is how many states each pair of a file system and a store must have, so
// that there are no fewer than asked for.
func (c *campaign) share(pairs int) int { return (c.states + pairs - 1) / pairs }

// survey tries stores on file systems, every file system at its own pace,
// until each pair has its share of the states.
func (c *campaign) survey(ctx context.Context, list []filesystem, stores []driver) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, f := range list {
		wg.Go(func() {
			errs[i] = c.on(f, func(r *rig, k *checker) error {
				for _, d := range stores {
					if err := c.pair(ctx, r, k, d, c.share(len(list)*len(stores))); err != nil {
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
	k := &checker{loomctl: c.loomctl, keepDir: c.keep, kept: map[string]int{}, report: func(line string) { c.printf("%s\n", line) }}
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
		rec, err := r.record(ctx, rng, d, s, "")
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		if first && s != failCut {
			if err := r.fsck(rec); err != nil {
				return fmt.Errorf("seed %d: the file system is not whole without a crash: %w", seed, err)
			}
		}
		t, err := r.trial(ctx, rng, k, d, rec, what, min(c.each, enough-p.total().states()))
		if err != nil || ctx.Err() != nil {
			return err // the seed is done anew
		}
		if t.bad() > 0 {
			if err := k.keepLog(r, d, rec, seed); err != nil {
				return err
			}
		}
		if err := c.enter(p, s, t, time.Since(began)); err != nil {
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
			k.report, k.keepDir = func(string) {}, ""
			for seed := uint64(1); seed <= 20 && t[torn] == 0 && ctx.Err() == nil; seed++ {
				rng := rand.New(rand.NewPCG(seed, 5))
				rec, err := r.record(ctx, rng, d, killCut, "sync memory.bin")
				if err != nil {
					return err
				}
				more, err := r.trial(ctx, rng, k, d, rec, "control", c.each)
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
		line := fmt.Sprintf("vere's protocol on %s, killed between its syncs (W5): %v", f.name, t)
		c.controls = append(c.controls, line)
		c.printf("control: %s\n", line)
	}
	return nil
}
