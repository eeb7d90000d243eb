// Package command is loomctl: one file a command, each a function that returns
// a *cobra.Command. It owns terminal manners and nothing else: results go to
// stdout, everything else to stderr as "loomctl: ..." and "hint: ...", with
// --json one document on stdout (docs/cli-json.md), and every way to fail has
// one of the exit codes below. What a command does is in the package it calls.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes of loomctl.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitDamaged     = 3   // defects found, torn or damaged
	ExitPending     = 4   // recovery pending (info --check)
	ExitNotStore    = 10  // not a loom directory
	ExitLocked      = 11  // held by another process
	ExitMismatch    = 12  // layout, version, store or module is another one
	ExitNoSpace     = 13  // the disk is full
	ExitUsage       = 64  // the command line is wrong
	ExitInterrupted = 130 // SIGINT
)

// streams are the three standard streams of one run, so that tests can give
// their own.
type streams struct {
	in  io.Reader
	out io.Writer // results only
	err io.Writer // everything else
}

// Main runs loomctl with args (args[0] is the program's name) and returns the
// exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	// What does not look at ctx, such as the opening of a pipe that nobody
	// writes to, is ended by a second SIGINT.
	defer context.AfterFunc(ctx, stop)()
	args = aiodArgs(args)
	out := &counter{Writer: stdout}
	s := &streams{in: stdin, out: out, err: stderr}
	root := newRoot(s)
	root.SetArgs(args[1:])
	c, err := root.ExecuteContextC(ctx)
	_, decided := errors.AsType[*exitError](err)
	switch {
	case err == nil && out.failed == nil:
		return ExitOK
	case err == nil:
		err = out.failed // cobra prints help and does not look
	case c == root && !decided:
		err = unknownCommand(root, args[1:], err) // nothing else of the root fails
	}
	code := s.report(err)
	if out.n == 0 && out.failed == nil && wantsJSON(c, args, code) {
		if lost := s.document(newFailure(code, err)); lost != nil {
			s.report(lost)
		}
	}
	return code
}

func newRoot(s *streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "loomctl",
		Short:         "run, inspect, verify and back up loom stores",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: ExitUsage, err: errors.New("no command given"), hint: "see 'loomctl --help'"}
		},
		DisableSuggestions:         true, // unknownCommand makes them
		SuggestionsMinimumDistance: 2,    // letters mistyped
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{code: ExitUsage, err: err, hint: "see '" + c.CommandPath() + " --help'"}
	})
	root.AddCommand(
		newInfo(s),
		newVerify(s),
		newRecover(s),
		newBackup(s),
		newRestore(s),
		newExport(s),
		newPatch(s),
		newCompletion(s),
		newClock(s),
		newRing(s),
		newVersion(s),
		newRun(s),
		newVMBus(s),
		newAiod(s),
	)
	// cobra's help takes an unknown command for a question about its own usage.
	root.InitDefaultHelpCmd()
	help, _, _ := root.Find([]string{"help"})
	help.Args = usageArgs(func(_ *cobra.Command, args []string) error {
		_, _, err := root.Find(args)
		return err
	})
	return root
}

// unknownCommand is cobra's error with a hint of what may have been meant.
func unknownCommand(root *cobra.Command, args []string, err error) error {
	e := &exitError{code: ExitUsage, err: err, hint: "see 'loomctl --help'"}
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if near := root.SuggestionsFor(a); len(near) > 0 {
			e.hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		break
	}
	return e
}

// exitError is an error with the exit code and the hint it deserves. Commands
// return it for what they decide themselves; errors of the engine are
// classified by report.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageArgs makes a wrong number of arguments exit with ExitUsage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return &exitError{code: ExitUsage, err: err, hint: "usage: " + c.UseLine()}
		}
		return nil
	}
}

// report prints err and its hint on stderr, every line under the name of its
// kind, and returns the exit code.
func (s *streams) report(err error) int {
	code, hint := classify(err)
	for line := range strings.Lines(message(code, err)) {
		fmt.Fprintf(s.err, "loomctl: %s\n", strings.TrimSuffix(line, "\n"))
	}
	for line := range strings.Lines(hint) {
		fmt.Fprintf(s.err, "hint: %s\n", strings.TrimSuffix(line, "\n"))
	}
	return code
}
