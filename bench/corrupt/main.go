// Command corrupt damages stores and counts what becomes of it: ours and the
// peers', the same damage to each, chosen by a seed.
//
//	go run -tags lmdb . -flips 10000
//
// A store of 64 pages of 16 KiB is made by six commits, once closed in order
// and once left as kill -9 leaves it. Then, each on a fresh copy: single bits
// flipped anywhere in its files; blocks exchanged, or put back to an older
// checkpoint's; files cut, removed, put back to an older checkpoint's, or
// replaced by another store's. Each copy is opened and read in full by a child
// process, since some stores crash on damaged files.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"loomstore/bench/peer"
	"loomstore/loom"
)

func main() {
	if kind := os.Getenv(workerVariable); kind != "" {
		exit(work(kind, os.Stdin, os.Stdout))
	}
	flips := flag.Int("flips", 2000, "flipped `bits` for each store; a tenth as many moved blocks")
	seed := flag.Uint64("seed", 1, "of the damage")
	dir := flag.String("dir", "", "`directory` for the copies; a temporary one if none is named")
	only := flag.String("kind", "", "only this `kind`")
	verbose := flag.Bool("v", false, "print each damage that was not noticed, or that crashed the process")
	flag.Parse()
	exit(run(*flips, *seed, *dir, *only, *verbose))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "corrupt: error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

const loomFull = "loom, full verification"

// kinds are the stores to damage: ours with full verification at Open, with
// the scrub, and with neither, and the peers that promise durability.
func kinds() []peer.Kind {
	full := peer.Kind{Name: loomFull, Open: func(dir string, limit int) (peer.Store, error) {
		return peer.OpenLoom(dir, &loom.Options{Size: int64(limit) * peer.PageSize, VerifyFull: true})
	}}
	list := []peer.Kind{full, scrubKind}
	for _, k := range peer.All() {
		if !k.Weaker && k.Name != "loom-uffd" && k.Name != "loom-mprotect" && k.Name != "loom-cow" {
			list = append(list, k)
		}
	}
	return list
}

func run(flips int, seed uint64, dir, only string, verbose bool) error {
	dir, err := os.MkdirTemp(dir, "loom-corrupt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if only != "" && !slices.ContainsFunc(kinds(), func(k peer.Kind) bool { return k.Name == only }) {
		return fmt.Errorf("there is no kind %q", only)
	}
	var violations []error
	fmt.Printf("%d flips, seed %d\n\n%s", flips, seed, head)
	for _, k := range kinds() {
		if only != "" && k.Name != only {
			continue
		}
		for _, closed := range []bool{true, false} {
			began := time.Now()
			t, err := damageAll(k, filepath.Join(dir, "store"), closed, flips, rand.New(rand.NewPCG(seed, 7)), verbose)
			if err != nil {
				return fmt.Errorf("%s: %w", k.Name, err)
			}
			left := "closed"
			if !closed {
				left = "killed"
			}
			fmt.Printf("| %s | %s |%v\n", k.Name, left, t)
			violations = append(violations, t.violation(k.Name))
			fmt.Fprintf(os.Stderr, "%s, %s: %.0f s\n", k.Name, left, time.Since(began).Seconds())
		}
	}
	return errors.Join(violations...)
}

func damageAll(k peer.Kind, dir string, closed bool, flips int, rng *rand.Rand, verbose bool) (*tally, error) {
	old, now, err := stored(k, dir, 0, closed)
	if err != nil {
		return nil, err
	}
	_, other, err := stored(k, dir, otherStore, closed)
	if err != nil {
		return nil, err
	}
	w := &worker{kind: k.Name}
	defer w.stop()
	t := new(tally)
	try := func(d damage) error {
		if err := d.write(dir); err != nil {
			return err
		}
		v, err := w.examine(dir)
		if err != nil {
			return err
		}
		t.count(v)
		if verbose && (v == older || v == silent || v == crashed) {
			fmt.Fprintf(os.Stderr, "%s: %s: %s\n", k.Name, v, d.what)
		}
		return nil
	}
	if err := try(damage{"nothing", now}); err != nil {
		return nil, err
	}
	if t.exact != 1 {
		return nil, fmt.Errorf("an undamaged store was not read back:%v", t)
	}
	*t = tally{}
	for _, d := range structural(rng, old, now, other) {
		if err := try(d); err != nil {
			return nil, err
		}
	}
	for range flips {
		if err := try(flipped(rng, now)); err != nil {
			return nil, err
		}
	}
	for range flips / 10 {
		if err := try(moved(rng, old, now)); err != nil {
			return nil, err
		}
	}
	return t, nil
}
