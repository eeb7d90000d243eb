package crash

import (
	"os"
	"runtime/debug"
	"testing"
)

// A state is much garbage and little that lives: collecting less often saves a
// third of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
