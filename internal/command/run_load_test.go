package command

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLoad runs testdata/load.js twice, once with kills, and expects the same
// end of both: what a killed run had not saved, the next one does again, in the
// same way. In the soak it has its full size.
func TestLoad(t *testing.T) {
	requireGuest(t)
	t.Parallel()
	nodes, rounds := 12000, 30
	switch {
	case os.Getenv("LOOM_SOAK") != "":
		nodes, rounds = 180000, 100
	case testing.Short():
		nodes, rounds = 2000, 5
	}
	cache := t.TempDir()
	configure := func(dir string) {
		t.Helper()
		c := loomctl(t, cache, "run", dir)
		c.Stdin = strings.NewReader(fmt.Sprintf("loadNodes = %d\nloadRounds = %d\n", nodes, rounds))
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	last := func(lines []string) string {
		if len(lines) == 0 {
			return ""
		}
		return lines[len(lines)-1]
	}
	isEnd := func(line string) bool {
		return strings.HasPrefix(line, fmt.Sprintf("round %d nodes %d digest ", rounds, nodes))
	}

	calm := filepath.Join(t.TempDir(), "calm")
	configure(calm)
	began := time.Now()
	out, err := loomctl(t, cache, "run", calm, "testdata/load.js").Output()
	took := time.Since(began)
	want := last(strings.Split(strings.TrimSpace(string(out)), "\n"))
	if err != nil || !isEnd(want) {
		t.Fatalf("%v\n%s", err, out)
	}

	dir := filepath.Join(t.TempDir(), "killed")
	configure(dir)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	kills, end := 0, ""
	for !isEnd(end) {
		life := time.Duration(random.Int64N(int64(took)))
		if kills >= 20 {
			life = time.Hour
		}
		lines, _ := killed(t, loomctl(t, cache, "run", dir, "testdata/load.js"), nil, life, os.Kill)
		end = last(lines)
		kills++
	}
	if end != want {
		t.Errorf("after %d runs (seed %d): %s, undisturbed: %s", kills, seed, end, want)
	}
	t.Logf("%s, undisturbed in %v and in %d runs", end, took, kills)
	c := loomctl(t, cache, "run", dir)
	c.Stdin = strings.NewReader("digest()\n")
	if out, err := c.Output(); err != nil || string(out) != fmt.Sprintf("%q\n", want) {
		t.Errorf("digest after restart: %s, %v", out, err)
	}
	verifyStore(t, dir)
}
