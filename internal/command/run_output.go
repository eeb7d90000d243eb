package command

import (
	"fmt"
	"io"
	"sync"
)

// output is what a run prints. Unless it is live, a line waits in it until a
// checkpoint holds the state that printed it: nothing is shown that a crash
// could undo.
type output struct {
	out, err io.Writer
	live     bool

	mu      sync.Mutex
	waiting []line
	failed  error // the first error of out
}

type line struct {
	stream int // 1 stdout, 2 stderr
	text   string
}

// print takes one line, without its newline.
func (o *output) print(stream int, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, line{stream, text})
	if o.live {
		o.write()
	}
}

// release prints what waits: it is durable now.
func (o *output) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.write()
}

// discard forgets what waits: the state that printed it is gone.
func (o *output) discard() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = nil
}

func (o *output) write() {
	for _, l := range o.waiting {
		w := o.out
		if l.stream == 2 {
			w = o.err
		}
		if _, err := fmt.Fprintln(w, l.text); err != nil && o.failed == nil {
			o.failed = err
		}
	}
	o.waiting = nil
}

// note prints a message of loomctl itself on stderr, at once.
func (o *output) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.err, "loomctl: "+format+"\n", args...)
}

// writeError returns the first error of printing a result.
func (o *output) writeError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}
