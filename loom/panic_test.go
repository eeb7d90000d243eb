package loom_test

import (
	"context"
	"fmt"
	"testing"

	"loomstore/loom"
)

// TestPanicOfTheProgramsFunctions: a Free or Events that panics, above all with
// a fault that Do recovers from, ends a checkpoint like an error: no dirty page
// is lost, and the next one goes on.
func TestPanicOfTheProgramsFunctions(t *testing.T) {
	armed := ""
	hit := func(at string) {
		if armed == at {
			armed = ""
			panic(at)
		}
	}
	events := func(e loom.Event) {
		if e.Kind == loom.Begun || e.Kind == loom.Committed {
			hit(string(e.Kind))
		}
	}
	free := func(p int) bool {
		if p == 3 {
			hit("free")
		}
		return p == 1
	}
	for _, at := range []string{"free", "begun", "committed"} {
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, &loom.Options{Free: free, Events: events})
			for p := 1; p < 6; p++ {
				l.Bytes()[p*page] = 1
			}
			armed = at
			got := func() (r any) {
				defer func() { r = recover() }()
				_, _ = l.Checkpoint(ctx)
				return nil
			}()
			if got != at {
				t.Fatalf("recovered %v", got)
			}
			l.Bytes()[4*page] = 2
			want := map[string]string{"free": "1 4", "begun": "1 4", "committed": "2 1"}[at]
			c := save(t, l)
			if got := fmt.Sprint(c.Epoch, c.Pages); got != want {
				t.Errorf("epoch and pages %s, want %s", got, want)
			}
			shut(t, l)
			l = open(t, dir, &loom.Options{})
			for p, want := range []byte{0, 0, 1, 1, 2, 1} {
				if got := l.Bytes()[p*page]; got != want {
					t.Errorf("page %d holds %d, want %d", p, got, want)
				}
			}
			shut(t, l)
		})
	}
}

// What is known needs no waiting, whatever has become of the context.
func TestWaitForWhatIsDone(t *testing.T) {
	l := open(t, t.TempDir(), &loom.Options{})
	p, err := l.CheckpointAsync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	for range 100 {
		if err := p.Wait(done); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, l)
}
