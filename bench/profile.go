package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"loomstore/bench/peer"
	"loomstore/internal/vfs"
	"loomstore/loom"
)

// profileSuite says where the time of a checkpoint goes.
func profileSuite() suite {
	return suite{
		name:  "profile",
		title: "Where the time of a checkpoint goes",
		note: "Checkpoints of D random pages of 16384, the apply of each waited for; milliseconds a checkpoint. The first rows follow the clock: " +
			"the program's stores, then the checkpoint (scan, write and sync of memory.bin and control.bin, and the rest: hashing and copying that nothing " +
			"hides), then the apply behind it. The last rows are processor time on all cores, the kernel's included, from a CPU profile.",
		unit: "", columns: append(append([]string{}, clockColumns...), cpuColumns()...),
		open: openProfile,
	}
}

var clockColumns = []string{"stores", "scan", "body: write", "body: sync", "record: write and sync", "rest", "= commit", "image and sums: write", "image and sums: sync", "= apply"}

// cpuPhases says which phase a stack belongs to: the first whose word is in one
// of its functions.
var cpuPhases = []struct{ phase, word string }{
	{"stores", "main.(*world).touch"},
	{"scan", "fault.(*Arena).Collect"},
	{"hash", "checksum."},
	{"hash", "murmur3"},
	{"sync", ").Sync"},
	{"write", ").Write"},
	{"copy in the kernel", ").Copy"},
	{"copy", "runtime.memmove"},
}

func cpuColumns() []string {
	var list []string
	for _, p := range append(cpuPhases, struct{ phase, word string }{"else", ""}) {
		if c := "CPU: " + p.phase; len(list) == 0 || list[len(list)-1] != c {
			list = append(list, c)
		}
	}
	return list
}

func openProfile(w *world) (_ *bench, err error) {
	b := new(bench)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.shut())
		}
	}()
	k, err := peer.Get("loom")
	if err != nil {
		return nil, err
	}
	first, err := w.filled(k)
	if err == nil {
		err = first.Close()
	}
	if err != nil {
		return nil, err
	}
	clock := &timedFS{FS: vfs.OS}
	clock.reset()
	l, err := peer.OpenLoom(w.path(k.Name), &loom.Options{Size: int64(w.pages) * peer.PageSize, FS: clock})
	if err != nil {
		return nil, err
	}
	b.defers(l.Close)
	for _, d := range dirtySizes {
		b.cells = append(b.cells, cell{row: "D = " + strconv.Itoa(d), run: func() (map[string]float64, error) {
			return profile(w, l, clock, min(d, w.pages))
		}})
	}
	return b, nil
}

// profile takes checkpoints for half a second, at least two.
func profile(w *world, l *peer.Loom, clock *timedFS, d int) (map[string]float64, error) {
	clock.reset()
	var cpu bytes.Buffer
	if err := pprof.StartCPUProfile(&cpu); err != nil {
		return nil, err
	}
	var stores, scan, commit, apply float64
	n := 0
	var err error
	for began := time.Now(); n < 2 || time.Since(began) < time.Second/2; n++ {
		dirty := w.pick(d)
		start := time.Now()
		w.touch(l, dirty)
		stores += since(start)
		if err = l.Save(); err != nil {
			break
		}
		if err = l.Wait(context.Background()); err != nil {
			break
		}
		m := l.Metrics()
		scan += float64(m.LastCapture) / 1e6
		commit += float64(m.LastCommit) / 1e6
		apply += float64(m.LastApply) / 1e6
	}
	pprof.StopCPUProfile()
	if err != nil {
		return nil, err
	}
	bodyWrite, bodySync := clock.in("memory.bin", "write"), clock.in("memory.bin", "sync")
	record := clock.in("control.bin", "write") + clock.in("control.bin", "sync")
	values := map[string]float64{
		"stores": stores, "scan": scan, "body: write": bodyWrite, "body: sync": bodySync, "record: write and sync": record,
		"rest": commit - scan - bodyWrite - bodySync - record, "= commit": commit,
		"image and sums: write": clock.in("image.bin", "write") + clock.in("sums.bin", "write"),
		"image and sums: sync":  clock.in("image.bin", "sync") + clock.in("sums.bin", "sync"),
		"= apply":               apply,
	}
	phases, err := cpuTimes(w, cpu.Bytes())
	if err != nil {
		return nil, err
	}
	for _, c := range cpuColumns() {
		values[c] = phases[c]
	}
	for c := range values {
		values[c] /= float64(n)
	}
	return values, nil
}

// cpuTimes splits a CPU profile by cpuPhases, in milliseconds.
func cpuTimes(w *world, profile []byte) (map[string]float64, error) {
	name := w.path("cpu.pprof")
	if err := os.WriteFile(name, profile, 0o600); err != nil {
		return nil, err
	}
	out, err := exec.Command("go", "tool", "pprof", "-traces", "-unit", "ms", name).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return splitTraces(out)
}

// splitTraces reads what pprof -traces prints: stacks between rules, the first
// line with the time.
func splitTraces(out []byte) (map[string]float64, error) {
	times := map[string]float64{}
	var took float64
	var stack []string
	end := func() {
		if len(stack) > 0 {
			times["CPU: "+phaseOf(stack)] += took
		}
		stack = nil
	}
	inTraces := false
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "-----------+") {
			end()
			inTraces = true
			continue
		}
		if !inTraces || line == "" {
			continue
		}
		fields := strings.Fields(line)
		if len(stack) == 0 && len(fields) > 1 {
			ms, err := strconv.ParseFloat(strings.TrimSuffix(fields[0], "ms"), 64)
			if err != nil {
				return nil, fmt.Errorf("pprof printed %q", line)
			}
			took = ms
			fields = fields[1:]
		}
		stack = append(stack, strings.Join(fields, " "))
	}
	end()
	return times, nil
}

func phaseOf(stack []string) string {
	for _, p := range cpuPhases {
		for _, f := range stack {
			if strings.Contains(f, p.word) {
				return p.phase
			}
		}
	}
	return "else"
}
