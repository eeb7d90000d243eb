package inject

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// call is one system call as strace -f -y prints it.
type call struct {
	pid      string
	name     string
	args     []string
	result   int64
	errno    string // "" if it succeeded
	injected bool
	text     string // all of it
}

var (
	// A descriptor with what it is open on: 7</store/control.bin>.
	decodedFD = regexp.MustCompile(`^(?:-?\d+|AT_FDCWD)<(.*)>$`)
	callLine  = regexp.MustCompile(`^([a-z0-9_]+)\((.*)\)\s+= (-?\d+|\?|0x[0-9a-f]+)(?:<[^>]*>)?(?: ([A-Z0-9_]+|\(errno) [^()]*(?:\([^)]*\)|\)))?(?: \((?:flags |Timeout|left |\[)[^)]*\))?(?: \(INJECTED\))?$`)
)

// parseTrace reads what strace -f -o wrote. A call that was cut in two by
// another thread's is put together again and stands where it ended, which is
// where oplog has it.
func parseTrace(file string) ([]call, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var calls []call
	begun := map[string]string{} // by thread
	for line := range strings.Lines(string(b)) {
		pid, text, ok := strings.Cut(strings.TrimRight(line, "\n"), " ")
		text = strings.TrimSpace(text)
		if !ok || strings.HasPrefix(text, "---") || strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "???") {
			continue // a signal or a death
		}
		if head, cut := strings.CutSuffix(text, "<unfinished ...>"); cut {
			begun[pid] = strings.TrimRight(head, " ")
			continue
		}
		if strings.HasPrefix(text, "<... ") {
			_, rest, ok := strings.Cut(text, " resumed>")
			if !ok {
				return nil, fmt.Errorf("no end of the call in %q", line)
			}
			if begun[pid] == "" {
				continue // of a call that this strace was not told to show
			}
			text = begun[pid] + rest
			delete(begun, pid)
		}
		if strings.HasSuffix(text, "= ? <unavailable>") {
			continue // the process ended inside it
		}
		m := callLine.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("not a system call: %q", line)
		}
		c := call{pid: pid, name: m[1], args: splitArgs(m[2]), errno: m[4], text: text, injected: strings.HasSuffix(text, "(INJECTED)")}
		c.result, _ = strconv.ParseInt(m[3], 0, 64)
		calls = append(calls, c)
	}
	return calls, nil
}

// splitArgs cuts at the commas that are outside quotes, braces and brackets.
func splitArgs(s string) []string {
	var args []string
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 0:
			args = append(args, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(args, strings.TrimSpace(s[from:]))
}

func (c call) arg(i int) string {
	if i >= len(c.args) {
		return ""
	}
	return c.args[i]
}

// path is what argument i names: a descriptor's file, or a string.
func (c call) path(i int) string {
	a := c.arg(i)
	if m := decodedFD.FindStringSubmatch(a); m != nil {
		return strings.TrimSuffix(m[1], " (deleted)")
	}
	return strings.Trim(a, `"`)
}

func (c call) number(i int) int64 {
	n, err := strconv.ParseInt(c.arg(i), 0, 64)
	if err != nil {
		return -1
	}
	return n
}

// flag reports whether argument i has the flag.
func (c call) flag(i int, name string) bool {
	for _, f := range strings.Split(c.arg(i), "|") {
		if f == name {
			return true
		}
	}
	return false
}
