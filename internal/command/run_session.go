package command

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"loomstore/internal/quickjs"
	"loomstore/loom"
	"loomstore/wasm"
)

// session evaluates inputs and checkpoints behind them.
type session struct {
	vm    *quickjs.VM
	loom  *loom.Loom
	out   *output
	every int  // inputs a checkpoint
	async bool // do not wait for checkpoints

	inputs   int   // evaluated
	failures int   // of these, inputs that threw
	since    int   // inputs since the last checkpoint
	lost     error // why the last checkpoint did not happen

	background sync.WaitGroup // asynchronous checkpoints
	asyncLost  atomic.Bool    // one of them failed
}

// input is one script to evaluate.
type input struct {
	source string
	file   string // name in backtraces
	id     string // what Unfinished calls it after a restart
	result bool   // print its value
}

// eval evaluates in to its end and checkpoints if it is time to. What the
// script throws is printed and counted; an error ends the run.
func (s *session) eval(ctx context.Context, in input) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.inputs++
	err := s.vm.Begin(ctx, in.source, in.file, in.id)
	if thrown := new(quickjs.ScriptError); errors.As(err, &thrown) {
		s.fail(thrown.Text)
		err = nil
	} else if err == nil {
		err = s.finish(ctx, func(value string) {
			if in.result {
				s.out.print(1, value)
			}
		})
	}
	if err != nil {
		return s.afterTrap(ctx, err)
	}
	return s.inputDone(ctx)
}

// ready ends an interrupt that was meant for what ran before, unless it was
// meant for the run: ctx is done before it interrupts.
func (s *session) ready(ctx context.Context) error {
	s.vm.Resume()
	return ctx.Err()
}

// resume finishes what the last checkpoint was taken in the middle of, and
// returns the id of that input, "" if it was between inputs.
func (s *session) resume(ctx context.Context) (id string, err error) {
	if id, err = s.vm.Unfinished(ctx); err != nil {
		return "", err
	}
	if id == "" {
		return "", nil
	}
	s.out.note("going on in the middle of the input that was running at epoch %d", s.loom.Epoch())
	s.inputs++
	err = s.finish(ctx, func(value string) {
		// Not on stdout, where one line belongs to one input of this run.
		if id == lineID {
			s.out.print(2, "loomctl: the input from the last run has ended: "+value)
		}
	})
	if err != nil {
		return "", s.afterTrap(ctx, err)
	}
	return id, s.inputDone(ctx)
}

// finish runs the jobs of the input that has begun, and prints how it ended.
func (s *session) finish(ctx context.Context, done func(value string)) error {
	if err := s.drain(ctx); err != nil {
		return err
	}
	interrupted := s.vm.Interrupted()
	if err := s.ready(ctx); err != nil {
		return err
	}
	o, err := s.vm.Outcome(ctx)
	if err != nil {
		return err
	}
	switch {
	case interrupted:
		s.fail("interrupted")
	case o.State == quickjs.Failed:
		s.fail(o.Text)
	default:
		done(o.Text)
	}
	if o.State == quickjs.Pending && !interrupted {
		s.out.print(2, "loomctl: the input ended awaiting a promise that nothing is left to settle")
	}
	for _, text := range o.Errors {
		s.fail("unhandled rejection: " + text)
	}
	return nil
}

// drain runs jobs until none is pending, and takes the checkpoints that they
// ask for, between two jobs.
func (s *session) drain(ctx context.Context) error {
	for {
		if s.vm.Requested() {
			if err := s.vm.Settle(ctx, s.requested(ctx)); err != nil {
				return err
			}
		}
		more, err := s.vm.Step(ctx)
		if thrown := new(quickjs.ScriptError); errors.As(err, &thrown) {
			if !s.vm.Interrupted() {
				s.fail(thrown.Text)
			}
		} else if err != nil {
			return err
		}
		if !more && !s.vm.Requested() {
			return nil
		}
	}
}

var errInterrupted = errors.New("interrupted")

// requested takes a checkpoint that a script awaits. Its error is the script's.
func (s *session) requested(ctx context.Context) error {
	if s.vm.Interrupted() {
		return errInterrupted
	}
	return s.checkpoint(ctx)
}

// fail prints what an input threw.
func (s *session) fail(text string) {
	s.failures++
	s.out.print(2, text)
	if strings.HasPrefix(text, "SyntaxError: redeclaration of ") {
		s.out.print(2, "hint: what a script declares at its top lives on in the store; use var, a property of globalThis, or a block")
	}
}

// inputDone checkpoints behind every s.every-th input. A checkpoint that fails
// does not end the run: the state is in memory, what was printed waits, and the
// next one is tried.
func (s *session) inputDone(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.since++; s.since < s.every {
		return nil
	}
	save := s.checkpoint
	if s.async {
		save = s.checkpointAsync
	}
	err := save(ctx)
	if err != nil && !fatal(err) {
		s.out.note("%v", err)
		return nil
	}
	return err
}

// fatal reports whether no later checkpoint can succeed.
func fatal(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, loom.ErrInDoubt) || errors.Is(err, loom.ErrClosed)
}

// checkpoint makes the state durable, and then prints what waited for that.
func (s *session) checkpoint(ctx context.Context) error {
	c, err := s.vm.Checkpoint(ctx)
	if err != nil {
		s.lost = err
		return err
	}
	s.since, s.lost = 0, nil
	if s.out.live {
		s.durable(c.Epoch, s.inputs)
	}
	s.out.release()
	return nil
}

// checkpointAsync captures the state, and says later that it is durable.
func (s *session) checkpointAsync(ctx context.Context) error {
	pending, err := s.vm.CheckpointAsync(ctx)
	if err != nil {
		s.lost = err
		return err
	}
	s.since, s.lost = 0, nil
	inputs := s.inputs
	s.background.Go(func() {
		if err := pending.Wait(context.Background()); err != nil {
			s.out.note("%v", err)
			s.asyncLost.Store(true)
			return
		}
		s.durable(pending.Epoch(), inputs)
	})
	return nil
}

func (s *session) durable(epoch uint64, inputs int) {
	s.out.note("durable: epoch %d, inputs %d", epoch, inputs)
}

// afterTrap goes on after err if that is a trap, which costs what came after the
// last checkpoint, no more. If that was in the middle of an input, the
// checkpoint() that it awaits throws.
func (s *session) afterTrap(ctx context.Context, err error) error {
	if !errors.Is(err, wasm.ErrTrapped) {
		return err
	}
	if rollback := s.vm.Rollback(ctx, err); rollback != nil {
		return errors.Join(err, rollback)
	}
	s.out.discard()
	s.failures++
	s.out.note("%v", err)
	s.out.note("rolled back to epoch %d: %d inputs are undone", s.loom.Epoch(), s.since+1)
	s.since, s.lost = 0, err
	return s.finish(ctx, func(string) {})
}

// end saves what is not saved yet.
func (s *session) end(ctx context.Context) error {
	s.background.Wait()
	if s.since > 0 || s.lost != nil || s.asyncLost.Load() {
		if err := s.checkpoint(ctx); err != nil {
			return err
		}
	}
	return s.out.writeError()
}
