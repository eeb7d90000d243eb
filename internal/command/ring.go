package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"loomstore/shmring"
)

func newRing(s *streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "ring",
		Short: "look into and exercise Demikernel-compatible shared memory rings",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: ExitUsage, err: errors.New("ring: no command given"), hint: "see 'loomctl ring --help'"}
		},
	}
	c.AddCommand(newRingDump(s))
	for _, t := range ringTraffics {
		c.AddCommand(newRingTraffic(s, t))
	}
	return c
}

// ringError gives an error of a ring its exit code and hint.
func ringError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, shmring.ErrCorrupt):
		return &exitError{code: ExitDamaged, err: err}
	case errors.Is(err, shmring.ErrInUse):
		return &exitError{code: ExitLocked, err: err, hint: "a pair is opened once: create another one"}
	case errors.Is(err, shmring.ErrOwned):
		return &exitError{code: ExitLocked, err: err}
	case errors.Is(err, fs.ErrExist):
		return &exitError{code: ExitLocked, err: err, hint: "if no process uses the pair, remove its objects from /dev/shm"}
	case errors.Is(err, shmring.ErrName):
		return &exitError{code: ExitUsage, err: err, hint: fmt.Sprintf("a name is 1 to %d bytes, without a slash", shmring.MaxName)}
	case errors.Is(err, fs.ErrNotExist):
		return &exitError{code: ExitFailure, err: err, hint: "one end creates the pair before the other opens it; --wait is how long to look for it"}
	case errors.Is(err, shmring.ErrPeerDead):
		return &exitError{code: ExitFailure, err: err, hint: "create the pair again: that removes what a dead creator left"}
	}
	return err
}

// ringJSON prints one document on one line.
func (s *streams) ringJSON(document any) error {
	return json.NewEncoder(s.out).Encode(document)
}
