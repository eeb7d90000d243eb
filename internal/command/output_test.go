package command

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fullOutput is a stdout on a full disk.
type fullOutput struct{}

func (fullOutput) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// What can not be printed is never a success, and --json does not change the
// exit code.
func TestOutputLost(t *testing.T) {
	dir := newStore(t, false)
	for _, c := range []struct {
		args string
		code int
	}{
		{"--help", ExitNoSpace}, {"help", ExitNoSpace}, {"info --help", ExitNoSpace}, {"ring --help", ExitNoSpace},
		{"version", ExitNoSpace}, {"completion bash", ExitNoSpace},
		{"info DIR", ExitNoSpace}, {"verify DIR", ExitNoSpace}, {"recover DIR", ExitNoSpace}, {"patch DIR", ExitNoSpace},
		{"info DIR/missing", ExitNotStore}, {"verify DIR/missing", ExitNotStore}, {"recover DIR/missing", ExitNotStore},
		{"backup DIR", ExitUsage},
	} {
		args := append([]string{"loomctl"}, strings.Fields(strings.ReplaceAll(c.args, "DIR", filepath.ToSlash(dir)))...)
		for _, args := range [][]string{args, append(args, "--json")} {
			if strings.Contains(c.args, "help") && args[len(args)-1] == "--json" {
				continue // help has no document
			}
			var stderr bytes.Buffer
			if code := Main(args, strings.NewReader(""), fullOutput{}, &stderr); code != c.code {
				t.Errorf("%q: exit %d, want %d", args, code, c.code)
			}
			if c.code == ExitNoSpace && !strings.Contains(stderr.String(), "loomctl: "+syscall.ENOSPC.Error()) {
				t.Errorf("%q: stderr %q", args, stderr.String())
			}
		}
	}
}
