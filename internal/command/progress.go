package command

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// progress shows how far a long command is, on a terminal and nowhere else.
type progress struct {
	w    io.Writer
	what string

	mu    sync.Mutex
	shown int // per mille; -1: nothing yet
}

// newProgress returns nil, which shows nothing, where stderr is no terminal.
func (s *streams) newProgress(what string) *progress {
	f, ok := s.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &progress{w: f, what: what, shown: -1}
}

// set is called from any goroutine, and not always in order.
func (p *progress) set(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := done * 1000 / max(total, 1); now > p.shown {
		p.shown = now
		fmt.Fprintf(p.w, "\r%s: %d.%d %% of %d pages", p.what, now/10, now%10, total)
	}
}

// callback is what the package image is to call, or nil.
func (p *progress) callback() func(done, total int) {
	if p == nil {
		return nil
	}
	return p.set
}

// end clears the line.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown >= 0 {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = -1
	}
}
