// Command bench measures the store beside its peers and beside what the machine
// can do at best, and writes the tables of docs/performance.md.
//
//	go run . -dir /var/tmp/bench                  everything, in a quarter of an hour
//	go run . -dir /var/tmp/bench -run durable-256 one table
//	go run . -short                               a look whether everything works
//
// A table is a suite: its rows are measured in one run, in an order shuffled
// anew in each round, files synced before each cell, and compared by their
// medians. Suites that are run separately are merged in the file of -json.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"time"
)

func main() {
	if what := os.Getenv(childVariable); what != "" {
		exit(child(what, os.Args[1:]))
	}
	var o options
	flag.StringVar(&o.run, "run", ".", "measure the suites whose names begin with a match of this `regexp`; none: only write what was measured")
	flag.IntVar(&o.rounds, "rounds", 9, "`rounds` of each suite, at least 7 for a result")
	flag.StringVar(&o.dir, "dir", "", "`directory` for the stores, which are kept for the next run and take 5 GB; removed if none is named")
	flag.StringVar(&o.json, "json", "", "`file` to merge the results into")
	flag.StringVar(&o.doc, "doc", "", "Markdown `file` whose tables to renew")
	flag.StringVar(&o.plots, "plots", "", "`directory` for the plots")
	flag.BoolVar(&o.short, "short", false, "stores of 4 MiB and 2 rounds: figures mean nothing")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of pages and order")
	flag.Parse()
	exit(o.main())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	run, dir, json, doc, plots string
	rounds                     int
	short                      bool
	seed                       uint64
}

func suites() []suite {
	all := append(durableSuites(), steadySuites()...)
	return append(all, storesSuite(), stoppedSuite(), reopenSuite(), writtenSuite(), residentSuite(), guestSuite(), profileSuite())
}

func (o options) main() error {
	wanted, err := regexp.Compile("^(" + o.run + ")")
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "loom-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.dir)
	} else if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	pages := 16384
	if o.short {
		pages, o.rounds = 256, 2
	}
	all := results{}
	if o.json != "" {
		if all, err = load(o.json); err != nil {
			return err
		}
	}
	w := newWorld(o.dir, pages, o.rounds, o.short, o.seed)
	for _, s := range suites() {
		if o.run == "none" || !wanted.MatchString(s.name) {
			continue
		}
		r, err := w.measure(s)
		if err != nil {
			return err
		}
		all[s.name] = r
		fmt.Printf("%s (%d rounds, %.0f s, seed %d)\n%s\n", r.Title, r.Rounds, r.Seconds, o.seed, r.table())
		if o.json != "" {
			if err := all.save(o.json); err != nil {
				return err
			}
		}
		debug.FreeOSMemory() // the next suite begins as the first one did
	}
	if o.doc != "" {
		if err := all.document(o.doc); err != nil {
			return err
		}
	}
	if o.plots != "" {
		return all.plot(o.plots)
	}
	return nil
}
