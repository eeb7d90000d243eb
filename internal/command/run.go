package command

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"loomstore/aiod"
	"loomstore/aiodfs"
	"loomstore/fault"
	"loomstore/internal/quickjs"
	"loomstore/loom"
)

// The ids of inputs: what a checkpoint taken in the middle of one calls it.
const (
	lineID     = "line"
	fileIDHead = "file "
)

type runFlags struct {
	size    byteSize
	tracker string
	guest   string
	every   int
	async   bool
	io      string
	scrub   time.Duration
}

func newRun(s *streams) *cobra.Command {
	f := runFlags{size: 4 << 30, every: 1, io: ioDirect}
	c := &cobra.Command{
		Use:   "run [flags] DIR [FILE.js]",
		Short: "run JavaScript whose memory survives",
		Long: `Run JavaScript whose whole memory lives in the loom store at DIR and survives
the end of the process, however it ends: the next run goes on with every
variable, closure, Map and pending promise.

On a terminal there is a prompt. Otherwise each line of standard input is
evaluated, or FILE.js as one script. Behind every input there is a checkpoint,
and what the input printed appears when that checkpoint is durable: console
output, and the value of a line as one line on standard output.

Scripts can call epoch(), the number of the last checkpoint, and checkpoint(),
whose promise is fulfilled with the epoch when the state is durable. A run that
ends while a script awaits checkpoint() is continued by the next one behind that
await. So a FILE.js that was interrupted goes on, if it has not been changed,
and does not begin again.`,
		Example: `  loomctl run ./state
  echo 'globalThis.n = (globalThis.n ?? 0) + 1' | loomctl run ./state
  loomctl run ./state job.js`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			if f.every < 1 {
				return &exitError{code: ExitUsage, err: fmt.Errorf("--every %d: must be 1 at least", f.every)}
			}
			if f.scrub < 0 {
				return &exitError{code: ExitUsage, err: fmt.Errorf("--scrub %v: must not be negative", f.scrub)}
			}
			if f.io != ioDirect && f.io != ioDaemon {
				return &exitError{code: ExitUsage, err: fmt.Errorf("--io %s: must be %s or %s", f.io, ioDirect, ioDaemon)}
			}
			file := ""
			if len(args) == 2 {
				file = args[1]
			}
			return s.run(c.Context(), f, f.async || c.Flags().Changed("every"), args[0], file)
		},
	}
	c.Flags().Var(&f.size, "size", "size of the arena, the most memory that scripts can have (K, M and G are units)")
	c.Flags().StringVar(&f.tracker, "tracker", "auto", "how changed pages are found: auto, uffd, mprotect, cow or compare")
	c.Flags().StringVar(&f.guest, "guest", "", "the JavaScript engine `quickjs.wasm` (default $LOOM_GUEST, else as npm installs it)")
	c.Flags().IntVar(&f.every, "every", 1, "checkpoint behind every `N`th input, print at once, say on stderr what is durable")
	c.Flags().BoolVar(&f.async, "async", false, "do not wait for checkpoints, print at once, say on stderr what is durable")
	c.Flags().StringVar(&f.io, "io", f.io, "who writes the store: direct is this process, daemon another one that finishes a checkpoint although this one is killed")
	c.Flags().DurationVar(&f.scrub, "scrub", 0, "compare every page of the store with its hash once in this time (1h, 24h), and say on stderr what is damaged")
	return c
}

// Who does a run's durable operations.
const (
	ioDirect = "direct"
	ioDaemon = "daemon"
)

// startIO starts this program as the daemon of a run.
func (s *streams) startIO() (*aiod.Client, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return aiod.Start(exe, &aiod.Options{Native: true, Stderr: s.err})
}

// run does what the command line says: everything that can fail without the
// store comes before the store is opened, and so perhaps created.
func (s *streams) run(ctx context.Context, f runFlags, live bool, dir, file string) (err error) {
	module, err := readGuest(f.guest)
	if err != nil {
		return err
	}
	var script []byte
	if file != "" {
		if script, err = os.ReadFile(file); err != nil {
			return fmt.Errorf("read script: %w", err)
		}
	}
	out := &output{out: s.out, err: s.err, live: live}
	damage := &damageNotes{out: out, told: map[int64]bool{}}
	o := &loom.Options{Size: int64(f.size), Tracker: fault.Kind(f.tracker), ScrubEvery: f.scrub, Events: damage.event}
	if f.io == ioDaemon {
		daemon, startErr := s.startIO()
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, daemon.Close()) }()
		o.IO = aiodfs.New(daemon)
	}
	l, err := loom.OpenContext(ctx, dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	vm, err := quickjs.Open(ctx, l, quickjs.Config{Module: module, Print: out.print, Stderr: s.err, CacheDir: moduleCache()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vm.Close(context.WithoutCancel(ctx))) }()

	se := &session{vm: vm, loom: l, out: out, every: f.every, async: f.async}
	terminal, _ := s.in.(*os.File)
	if file == "" && terminal != nil && term.IsTerminal(int(terminal.Fd())) {
		return se.prompt(context.WithoutCancel(ctx), terminal, dir)
	}
	return se.batch(ctx, s.in, file, script)
}

// batch evaluates a script, or in line by line if there is no file.
func (s *session) batch(ctx context.Context, in io.Reader, file string, script []byte) error {
	defer context.AfterFunc(ctx, s.vm.Interrupt)()
	var err error
	if file != "" {
		err = s.evalFile(ctx, file, script)
	} else {
		err = s.evalLines(ctx, in)
	}
	if err == nil {
		err = s.end(ctx)
	}
	if ctx.Err() != nil {
		s.background.Wait()
		return &exitError{code: ExitInterrupted, err: fmt.Errorf("interrupted: the store is at epoch %d", s.loom.Epoch())}
	}
	if err == nil && s.failures > 0 {
		err = fmt.Errorf("%d errors in %d inputs", s.failures, s.inputs)
	}
	return err
}

// evalFile evaluates a script, or finishes it if the last run could not.
func (s *session) evalFile(ctx context.Context, file string, script []byte) error {
	id := fmt.Sprintf("%s%x", fileIDHead, sha256.Sum256(script))
	resumed, err := s.resume(ctx)
	if err != nil || resumed == id {
		return err
	}
	return s.eval(ctx, input{source: string(script), file: file, id: id})
}

func (s *session) evalLines(ctx context.Context, in io.Reader) error {
	if _, err := s.resume(ctx); err != nil {
		return err
	}
	lines := readLines(ctx, in)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l, ok := <-lines:
			if !ok {
				return nil
			}
			if l.err != nil {
				// What ran is saved, as at the end of the input.
				return errors.Join(l.err, s.end(ctx))
			}
			if l.text == "" {
				continue
			}
			if err := s.eval(ctx, input{source: l.text, file: "<stdin>", id: lineID, result: true}); err != nil {
				return err
			}
		}
	}
}

type inputLine struct {
	text string
	err  error
}

// maxLine bounds a line of standard input.
const maxLine = 64 << 20

// readLines reads in a goroutine of its own, because a read can not be
// interrupted; the goroutine ends with in, or at its next line after ctx.
func readLines(ctx context.Context, in io.Reader) <-chan inputLine {
	lines := make(chan inputLine)
	send := func(l inputLine) bool {
		select {
		case lines <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(lines)
		scan := bufio.NewScanner(in)
		scan.Buffer(nil, maxLine)
		for scan.Scan() {
			if !send(inputLine{text: scan.Text()}) {
				return
			}
		}
		switch err := scan.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			send(inputLine{err: &exitError{
				code: ExitFailure,
				err:  fmt.Errorf("read standard input: a line is longer than %d bytes", maxLine),
				hint: "a script in a file, loomctl run DIR FILE.js, can be of any length",
			}})
		case err != nil:
			send(inputLine{err: fmt.Errorf("read standard input: %w", err)})
		}
	}()
	return lines
}
