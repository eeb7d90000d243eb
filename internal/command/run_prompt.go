package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"
)

const (
	promptFirst = "> "
	promptMore  = "… "
)

// prompt evaluates what is typed at a terminal, until its end. Ctrl-C ends what
// runs, or forgets what is being typed; nothing that a script does ends the run.
func (s *session) prompt(ctx context.Context, terminal *os.File, dir string) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer close(interrupts)
	defer signal.Stop(interrupts)
	go func() {
		for range interrupts {
			s.vm.Interrupt()
		}
	}()

	e := newEditor(terminal, s.out.err)
	s.out.err = e // so that what comes while a line is typed leaves it whole
	s.out.note("%s at epoch %d; Ctrl-C interrupts, Ctrl-D ends", dir, s.loom.Epoch())
	if _, err := s.resume(ctx); err != nil {
		return err
	}
	for {
		source, err := e.read()
		if errors.Is(err, io.EOF) {
			return s.end(ctx)
		}
		if err != nil {
			return fmt.Errorf("read terminal: %w", err)
		}
		if err := s.eval(ctx, input{source: source, file: "<terminal>", id: lineID, result: true}); err != nil {
			return err
		}
	}
}

// editor reads inputs of one or more lines from a terminal, which is in raw
// mode only meanwhile: while a script runs, Ctrl-C is a signal.
type editor struct {
	fd   int
	keys *keys
	out  io.Writer
	term *term.Terminal
}

func newEditor(in *os.File, out io.Writer) *editor {
	e := &editor{fd: int(in.Fd()), keys: &keys{in: in}, out: out}
	e.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{e.keys, out}, promptFirst)
	e.term.History = new(history)
	return e
}

// Write prints p above the line that is being typed.
func (e *editor) Write(p []byte) (int, error) { return e.term.Write(p) }

// read returns the next input. io.EOF: the user is done.
func (e *editor) read() (string, error) {
	saved, err := term.MakeRaw(e.fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(e.fd, saved)
	if width, height, err := term.GetSize(e.fd); err == nil && width > 0 {
		e.term.SetSize(width, height)
	}
	source := ""
	for {
		line, err := e.term.ReadLine()
		if err != nil {
			fmt.Fprint(e.out, "\r\n")
			return "", err
		}
		source += line
		if e.keys.interrupted {
			e.keys.interrupted = false
			source = ""
		} else if incomplete(source) {
			source += "\n"
			e.term.SetPrompt(promptMore)
			continue
		}
		e.term.SetPrompt(promptFirst)
		if strings.TrimSpace(source) != "" {
			return source, nil
		}
	}
}

// keys makes Ctrl-C, for which a term.Terminal has no other answer than for
// Ctrl-D, into keys that empty the line and enter it.
type keys struct {
	in          io.Reader
	buf, rest   []byte
	interrupted bool
}

const (
	ctrlC     = 3
	emptyLine = "\x05\x15\r" // to the end, delete to the beginning, enter
)

func (k *keys) Read(p []byte) (int, error) {
	if len(k.rest) == 0 {
		k.buf = append(k.buf[:0], make([]byte, len(p))...)
		n, err := k.in.Read(k.buf)
		if n == 0 {
			return 0, err
		}
		k.rest = k.buf[:n]
	}
	switch i := bytes.IndexByte(k.rest, ctrlC); {
	case i == 0 && len(p) >= len(emptyLine):
		k.rest, k.interrupted = k.rest[1:], true
		return copy(p, emptyLine), nil
	case i > 0:
		n := copy(p, k.rest[:i])
		k.rest = k.rest[n:]
		return n, nil
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// history is what arrow up brings back: the last lines, without empty and
// repeated ones.
type history struct{ lines []string }

const historyLength = 1000

func (h *history) Add(line string) {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	if len(h.lines) == historyLength {
		h.lines = h.lines[1:]
	}
	h.lines = append(h.lines, line)
}

func (h *history) Len() int { return len(h.lines) }

// At returns the line of i inputs ago.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
