// Command powercut cuts the power under stores on real file systems
// (spec/crash.md sections 3d and 4).
//
// A file of its own FUSE server is a disk in memory (disk.go, fuse.go), a loop
// device on it carries a real file system (loop.go, filesystem.go, rig.go), and
// a store works on that in a process of its own (child.go), marking what it
// begins and what it was promised through the same server. So the disk's log has
// every write, flush, discard and mark in one order (record.go). Crash states
// are rebuilt from it: at every write and every mark, of what was not flushed
// everything, nothing, the youngest write, or any part is kept (states.go). Each
// is mounted, and the store in it opened by production code and compared byte
// for byte with what it may hold; then it must take its next checkpoint, close,
// and open with nothing to do (trial.go, judge.go).
//
// Before the cut the process may have been killed, or a few writes of the disk
// have ended in EIO; another process then recovers on the page cache that is
// there, and is cut off too.
//
// What is assumed: a flush covers every write that the disk has answered before
// it; sectors of 512 bytes are atomic; and so are the writes of ext4's and
// btrfs's superblocks, without which no store is reached.
//
// With -peers other stores are driven alike, for a table; only what is bad about
// ours fails the run.
//
// The rig needs root, /dev/fuse, loop devices and mkfs. What is missing it
// says, and claims nothing. It takes down what it has put up, also after a
// signal, and what an earlier run left that was killed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout)) }

func run(args []string, in io.Reader, out io.Writer) int {
	if slices.Equal(args, []string{childArgument}) {
		if err := serveJobs(in, out); err != nil {
			fmt.Fprintln(os.Stderr, "powercut child:", err)
			return 1
		}
		return 0
	}
	c := &campaign{out: out, began: time.Now()}
	flags := flag.NewFlagSet("powercut", flag.ContinueOnError)
	flags.IntVar(&c.states, "states", 2000, "crash states to try")
	flags.Uint64Var(&c.seed, "seed", 1, "seed of the first recording")
	flags.IntVar(&c.each, "each", 60, "states of one recording")
	flags.StringVar(&c.progress, "progress", "", "file that keeps count: a run that was stopped goes on from it")
	flags.StringVar(&c.loomctl, "loomctl", "", "the production binary: it recovers and verifies one state of each recording first")
	flags.StringVar(&c.keep, "keep", "", "directory for the disks of violations and the logs of their recordings")
	flags.BoolVar(&c.quiet, "quiet", false, "no line for each recording")
	flags.StringVar(&c.write, "write", "", "file for the tables of -peers, with the date, the command and what is known of the stores")
	flags.BoolVar(&c.peers, "peers", false, "drive every store, and share the states among them")
	only := flags.String("stores", "", "with -peers: only these, separated by commas")
	on := flags.String("fs", "", "file systems, separated by commas; default all")
	if err := flags.Parse(args); err != nil {
		return usage
	}
	if err := c.validate(*on, *only); err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
		return usage
	}
	if why := unable(); why != "" {
		fmt.Fprintf(out, "powercut: not run: %s\n", why)
		return 0
	}
	if err := seclude(); err != nil {
		fmt.Fprintf(out, "powercut: not run: %v\n", err)
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	stores := drivers()
	if !c.peers {
		stores = stores[:1]
	} else if *only != "" {
		stores = slices.DeleteFunc(stores, func(d driver) bool { return !slices.Contains(strings.Split(*only, ","), d.name) })
	}
	if err := c.run(ctx, chosen(*on, out), stores); err != nil {
		fmt.Fprintln(out, "powercut:", err)
		return 1
	}
	return 0
}

// usage is the exit code of a command line that can not be.
const usage = 64

// validate refuses what would try nothing, and look like a run without a
// violation.
func (c *campaign) validate(on, only string) error {
	if c.states < 1 || c.each < 1 {
		return fmt.Errorf("-states %d, -each %d: there must be one at least", c.states, c.each)
	}
	var filesystemNames, storeNames []string
	for _, f := range filesystems() {
		filesystemNames = append(filesystemNames, f.name)
	}
	for _, d := range drivers() {
		storeNames = append(storeNames, d.name)
	}
	return errors.Join(known("-fs", on, filesystemNames), known("-stores", only, storeNames))
}

// known refuses names that are not among all.
func known(flag, names string, all []string) error {
	if names == "" {
		return nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(all, name) {
			return fmt.Errorf("%s: there is no %q, only %s", flag, name, strings.Join(all, ", "))
		}
	}
	return nil
}

// unable says what is missing here, "" if nothing is.
func unable() string {
	if os.Geteuid() != 0 {
		return "it takes root to mount"
	}
	for _, dev := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(dev); err != nil {
			return "there is no " + dev
		}
	}
	return ""
}

// chosen are the file systems that were asked for and can be had.
func chosen(names string, out io.Writer) (list []filesystem) {
	for _, f := range filesystems() {
		if names != "" && !slices.Contains(strings.Split(names, ","), f.name) {
			continue
		}
		if missing := f.missing(); missing != "" {
			fmt.Fprintf(out, "powercut: %s not run: there is no %s\n", f.name, missing)
			continue
		}
		list = append(list, f)
	}
	return list
}

func (c *campaign) run(ctx context.Context, list []filesystem, stores []driver) (err error) {
	if len(list) == 0 || len(stores) == 0 {
		return nil
	}
	if err := errors.Join(c.load(), sweep()); err != nil {
		return err
	}
	if c.session, err = newSession(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.session.close()) }()
	if err := c.control(ctx, list); err != nil {
		return err
	}
	if !c.peers {
		if err := c.survivesUnreadablePages(ctx, list); err != nil {
			return err
		}
	}
	if err := c.explainSpared(list); err != nil {
		return err
	}
	err = c.survey(ctx, list, stores)
	c.printf("%s", c.table(list, stores))
	if c.peers {
		c.printf("\n%s", c.comparison(list, stores))
	}
	c.printf("%.0f s\n", time.Since(c.began).Seconds())
	if c.write != "" && ctx.Err() == nil {
		err = errors.Join(err, c.document(list, stores))
	}
	for _, d := range stores {
		for _, f := range list {
			n := c.at(f, d).total().bad()
			switch {
			case n == 0:
			case f.limit != "":
				c.printf("%s on %s: %d bad states are the file system's: %s\n", d.name, f.name, n, f.limit)
			case d.limit != "":
				c.printf("%s on %s: %d bad states are known: %s\n", d.name, f.name, n, d.limit)
			case d.name != drivers()[0].name:
				c.printf("%s on %s: %d bad states\n", d.name, f.name, n)
			default:
				err = errors.Join(err, fmt.Errorf("%s on %s: %d violations", d.name, f.name, n))
			}
		}
	}
	return err
}
