package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"loomstore/image"
)

// A checkpoint that was committed but not applied: info says so and changes
// nothing, recover applies it.
func TestRecoverApplies(t *testing.T) {
	dir := newStore(t, true)
	before := tree(t, dir)
	ctl("info", dir).wants(t, ExitOK)
	r := ctl("info", "--check", dir).wants(t, ExitPending)
	if !strings.Contains(r.out, "applied: epoch 2, 4 pages, 2 of them from a patch") {
		t.Errorf("info: %s", r.out)
	}
	var info struct {
		infoDocument
		Plan recovered `json:"plan"`
	}
	ctl("info", "--check", "--json", dir).wants(t, ExitPending).decode(t, &info)
	if info.Epoch != 2 || info.Applied != 1 || info.Clean || info.Layout != "loom" || info.AppRecord != fmt.Sprintf("%x", "generation 2") ||
		info.Plan.Action != "applied" || info.Files["image.bin"] != 4*16384 {
		t.Errorf("info: %+v", info)
	}
	ctl("verify", dir).wants(t, ExitOK)
	unchanged(t, "info and verify", dir, before)

	var got recovered
	ctl("recover", "--json", dir).wants(t, ExitOK).decode(t, &got)
	if got.Action != "applied" || got.Epoch != 2 || got.Pages != 4 || got.PatchPages != 2 {
		t.Errorf("recover: %+v", got)
	}
	ctl("info", "--check", dir).wants(t, ExitOK)
	ctl("verify", dir).wants(t, ExitOK)
	if tree(t, dir)["image.bin"] != vereImage(1, 2, 1, 2) {
		t.Error("the image is another")
	}
	if r := ctl("recover", dir).wants(t, ExitOK); !strings.HasPrefix(r.out, "none: epoch 2, 4 pages") {
		t.Errorf("a second recover: %s", r.out)
	}
}

// Damage to a store of ours: what finds it, with which code, naming which file
// and page. Nothing is changed by finding it.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name            string
		pending         bool
		hurt            func(t *testing.T, dir string)
		recover, verify int
		defect          string // in what verify prints
	}{
		{"a page", false, func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "image.bin"), 2*16384+5) }, ExitOK, ExitDamaged,
			"image.bin: page 2: offset 32768: want "},
		{"every file gone but one", false, func(t *testing.T, dir string) {
			for _, name := range []string{"image.bin", "control.bin", "memory.bin"} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}, ExitDamaged, ExitDamaged, "control.bin: page -: offset -: want -: got -: missing"},
		{"the patch", true, func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "memory.bin"), memoryOfSecond(t, dir)) }, ExitDamaged, ExitDamaged,
			"memory.bin: page 1: offset "},
		{"the records", false, func(t *testing.T, dir string) {
			for at := range 4 {
				flip(t, filepath.Join(dir, "control.bin"), int64(at)*4096+20)
			}
		}, ExitDamaged, ExitDamaged, "control.bin: page -: offset -: want -: got -: no valid commit record"},
		{"the records of another store", false, func(t *testing.T, dir string) {
			other := newStore(t, false)
			b, err := os.ReadFile(filepath.Join(other, "control.bin"))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "control.bin"), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, ExitMismatch, ExitDamaged, "belongs to another store"},
		{"garbage", false, func(t *testing.T, dir string) {
			for name, content := range tree(t, dir) {
				if name != "." && name != "lock" {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("garbage ", len(content)/8)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		}, ExitDamaged, ExitDamaged, "sums.bin: page -: offset 0: want a valid header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := newStore(t, c.pending)
			c.hurt(t, dir)
			before := tree(t, dir)
			r := ctl("verify", dir).wants(t, c.verify)
			if !strings.Contains(r.out, c.defect) {
				t.Errorf("verify found %q, want %q", r.out, c.defect)
			}
			var v struct {
				Schema  int      `json:"schema"`
				Dir     string   `json:"dir"`
				Defects []defect `json:"defects"`
				verifyDocument
				Code    string `json:"code"`
				Message string `json:"message"`
			}
			ctl("verify", "--json", dir).wants(t, c.verify).decode(t, &v)
			if v.Count == 0 || len(v.Defects) != v.Count || v.Code != codeName(c.verify) || len(v.Defects) != strings.Count(r.out, "\n") {
				t.Errorf("verify --json: %+v; lines:\n%s", v, r.out)
			}
			ctl("recover", "--dry-run", dir).wants(t, c.recover)
			copied := filepath.Join(t.TempDir(), "new", "copy")
			for _, command := range []string{"backup", "restore"} {
				if r := ctl(command, dir, copied); r.code != ExitDamaged && r.code != ExitMismatch {
					t.Errorf("%s of a damaged store: %+v", command, r)
				}
			}
			if _, err := os.Stat(filepath.Dir(copied)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a part of a backup was left: %v", err)
			}
			ctl("patch", dir)
			unchanged(t, "looking", dir, before)
			if c.recover != ExitOK {
				ctl("recover", dir).wants(t, c.recover)
				ctl("info", "--check", dir).wants(t, c.recover)
				unchanged(t, "a refusal", dir, before)
			}
		})
	}
}

// memoryOfSecond is where the first page of the newest body lies.
func memoryOfSecond(t *testing.T, dir string) int64 {
	t.Helper()
	p, err := image.InspectPatches(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range p.Records {
		if at.Record != nil && at.Record.Epoch == 2 {
			return at.Record.BodyOffset + 4096
		}
	}
	t.Fatal("no record of epoch 2")
	return 0
}

// --discard-damaged gives a damaged patch of vere's up, and keeps its files.
func TestDiscardDamaged(t *testing.T) {
	control, memory := verePatch(4, 1, 3)
	dir := filepath.Join(t.TempDir(), "dir")
	lay(t, dir, map[string]string{"image.bin": vereImage(1, 2, 1), "control.bin": control, "memory.bin": memory[1:]})
	if r := ctl("recover", dir).wants(t, ExitDamaged); !strings.Contains(r.stderr, "--discard-damaged") {
		t.Errorf("no hint: %s", r.stderr)
	}
	var got recovered
	r := ctl("recover", "--json", "--discard-damaged", dir).wants(t, ExitOK)
	r.decode(t, &got)
	if got.Action != "discarded" || got.Pages != 3 || len(got.Kept) != 2 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(r.stderr, "memory.bin: page 1") {
		t.Errorf("the plan does not say what is lost: %s", r.stderr)
	}
	after := tree(t, dir)
	if after["control.bin.aside"] != control || after["memory.bin.aside"] != memory[1:] {
		t.Error("the patch was not kept")
	}
	ctl("verify", dir).wants(t, ExitOK)
}

// verify, info and backup while the store is written to: whatever they say is
// of a checkpoint that was committed.
func TestBesideALiveWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir)
	commit(t, s, change(1, 0, 1, 2, 3))
	stop, stopped := make(chan struct{}), sync.WaitGroup{}
	stopped.Go(func() {
		ctx := context.Background()
		for generation := 2; ; generation++ {
			select {
			case <-stop:
				return
			default:
			}
			err := s.Apply(ctx)
			if err == nil {
				var st *image.Staged
				if st, err = s.Stage(ctx, change(generation, generation%3, 3)); err == nil {
					err = s.Commit(st)
				}
			}
			if err != nil {
				t.Errorf("generation %d: %v", generation, err)
				return
			}
		}
	})
	for i := range 5 {
		ctl("verify", dir).wants(t, ExitOK)
		ctl("verify", "--quick", dir).wants(t, ExitOK)
		ctl("info", dir).wants(t, ExitOK)
		copied := filepath.Join(t.TempDir(), fmt.Sprint(i))
		ctl("backup", dir, copied).wants(t, ExitOK)
		ctl("verify", copied).wants(t, ExitOK)
		ctl("info", "--check", copied).wants(t, ExitOK)
		ctl("recover", "--dry-run", dir).wants(t, ExitLocked)
	}
	close(stop)
	stopped.Wait()
	closeStore(t, s)
	ctl("verify", dir).wants(t, ExitOK)
}
