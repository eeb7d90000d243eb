package aiodtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// KillEnv is an environment variable that makes a daemon kill a process when
// an operation is done: see Kill.
const KillEnv = "AIODTEST_KILL"

// Kill is the value of KillEnv by which the first daemon to have done n
// operations kills itself, or its parent if victim is "parent", before it
// answers the last. It does so once, as long as the file flag exists, which it
// removes. It is the n-th of those after which the trace has a line that
// contains since.
func Kill(victim string, n int, flag, since string) string {
	return fmt.Sprintf("%s %d %s %s", victim, n, flag, since)
}

// killer looks on as a daemon's trace.
type killer struct {
	victim, flag, since string
	left                int
}

func newKiller(spec string) *killer {
	words := strings.SplitN(spec, " ", 4)
	left, err := strconv.Atoi(words[1])
	if err != nil {
		panic(err)
	}
	return &killer{victim: words[0], left: left, flag: words[2], since: words[3]}
}

// Write is called once for each operation that is over.
func (k *killer) Write(line []byte) (int, error) {
	if k.since != "" {
		if strings.Contains(string(line), k.since) {
			k.since = ""
		}
		return len(line), nil
	}
	if k.left--; k.left != 0 || os.Remove(k.flag) != nil {
		return len(line), nil
	}
	pid := os.Getpid()
	if k.victim == "parent" {
		pid = os.Getppid()
	}
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	if k.victim != "parent" {
		select {} // the signal is on its way
	}
	return len(line), nil
}
