package crash

import (
	"testing"
	"time"
)

// Every write, sync, truncation and reservation fails once; the engine lives
// on as it does (R4), and the power is cut at every operation behind that.
func TestErrorsThenPowerCut(t *testing.T) {
	began := time.Now()
	p := loom{size: 1024, create: true}
	x := &explorer{proto: p, budgets: []budget{{32, 24}}, seed: 1, again: goesOn(p), enoughBad: 3}
	m, l := prepared(t, p, history[:2]...)
	if err := everyError(x, m, l, history[2:5], 2); err != nil {
		t.Fatal(err)
	}
	x.report(t, began)
}
