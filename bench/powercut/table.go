package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

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

// comparison is one line for each store, all file systems together.
func (c *campaign) comparison(list []filesystem, stores []driver) string {
	var b strings.Builder
	b.WriteString("| store |")
	for s := range scenes {
		fmt.Fprintf(&b, " %v: states | torn | lost | unavailable |", s)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", 4*int(scenes)) + "\n")
	for _, d := range stores {
		fmt.Fprintf(&b, "| %s |", d.name)
		for s := range scenes {
			var t tally
			for _, f := range list {
				t.add(c.at(f, d).Scenes[s])
			}
			fmt.Fprintf(&b, " %d | %d | %d | %d |", t.states()-t[unmountable], t[torn], t[lost], t[unavailable]+t[saveFails])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// discussion begins the part of the document that is written by hand.
const discussion = "\n## What the table says\n"

// document writes the tables as a page of docs. What follows them stays.
func (c *campaign) document(list []filesystem, stores []driver) error {
	old, err := os.ReadFile(c.write)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := c.page(list, stores)
	if i := strings.Index(string(old), discussion); i >= 0 {
		text += string(old[i:])
	}
	return os.WriteFile(c.write, []byte(text), 0o644)
}

func (c *campaign) page(list []filesystem, stores []driver) string {
	var b strings.Builder
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var names []string
	seconds, ends := 0.0, uint64(0)
	for _, f := range list {
		names = append(names, f.name)
		for _, d := range stores {
			p := c.at(f, d)
			seconds, ends = seconds+p.Seconds, max(ends, p.Next)
		}
	}
	on := strings.Join(names, ",")
	fmt.Fprintf(&b, `# Power cuts: the store and its peers

Written on %s, Linux %s, seeds %d to %d, in %.0f s of the file systems' time, by

    bin/powercut -peers -states %d -each %d -seed %d -fs %s

which `+"`make crash-peers`"+` builds and runs, with fewer states. Every store makes the same kind of checkpoints of 16 KiB pages, growing and
shrinking, on the same recording disk; [crash-safety.md](crash-safety.md) says how crash states are made of that. A state is counted under what
came before the power cut: nothing; the process was killed, and another recovered; some writes of the disk had ended in EIO, and another
process recovered. Torn equals no state that was begun. Lost equals one older than the acknowledged. Unavailable does not open, ends its
process, gives no answer in %v, or opens and then fails its next commit, its close or the opening after that. States of which the file system
itself can not be mounted say nothing about the store, and are only in the last table.

All of %s together:

`, time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(kernel)), c.seed, max(ends, 1)-1, seconds,
		c.states, c.each, c.seed, on, patience, on)
	b.WriteString(c.comparison(list, stores))
	b.WriteString("\nWhat is measured as what:\n\n")
	for _, d := range stores {
		fmt.Fprintf(&b, "- %s: %s.\n", d.name, d.about)
	}
	b.WriteString("\nThe rig's own control, in the same run:\n\n")
	for _, line := range c.controls {
		fmt.Fprintf(&b, "- %s.\n", line)
	}
	b.WriteString("\nBy file system; the columns in the middle are states, and how many were bad:\n\n")
	b.WriteString(c.table(list, stores))
	return b.String()
}
