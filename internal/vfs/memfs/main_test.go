package memfs

import (
	"flag"
	"os"
	"testing"
)

// LOOM_SOAK=1 gives the property tests more to try.
func TestMain(m *testing.M) {
	if os.Getenv("LOOM_SOAK") == "1" {
		flag.Set("rapid.checks", "20000")
	}
	os.Exit(m.Run())
}
