package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"loomstore/vmbusring"
)

func newVMBus(s *streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "vmbus",
		Short: "decode and exercise VMBus rings",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return &exitError{code: ExitUsage, err: errors.New("vmbus: no command given"), hint: "see 'loomctl vmbus --help'"}
		},
	}
	c.AddCommand(newVMBusDump(s), newVMBusProduce(s), newVMBusConsume(s))
	return c
}

// ringSizeFlag is the size of a ring's data area, which no file says.
type ringSizeFlag int

func (r *ringSizeFlag) String() string { return fmt.Sprint(int(*r)) }
func (r *ringSizeFlag) Type() string   { return "bytes" }

func (r *ringSizeFlag) Set(text string) error {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return fmt.Errorf("%q is no number", text)
	}
	if n <= 0 || n%vmbusring.PageSize != 0 || n >= 1<<32 {
		return fmt.Errorf("%d is no multiple of %d below 4 GiB", n, vmbusring.PageSize)
	}
	*r = ringSizeFlag(n)
	return nil
}

// addTo registers the flag as one that has to be given.
func (r *ringSizeFlag) addTo(c *cobra.Command) {
	c.Flags().Var(r, "ring-size", "data bytes of each ring, without its control page")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if *r == 0 {
			return &exitError{code: ExitUsage, err: fmt.Errorf("%s: --ring-size is missing", c.Name()), hint: "usage: " + c.UseLine()}
		}
		return nil
	}
}

// choiceFlag accepts one of a few words.
type choiceFlag struct {
	value   string
	choices []string
}

func (f *choiceFlag) String() string { return f.value }
func (f *choiceFlag) Type() string   { return strings.Join(f.choices, "|") }

func (f *choiceFlag) Set(text string) error {
	for _, choice := range f.choices {
		if text == choice {
			f.value = text
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(f.choices, ", "))
}

// damaged gives corruption of a ring its exit code.
func damaged(err error) error {
	if errors.Is(err, vmbusring.ErrCorrupt) {
		return &exitError{code: ExitDamaged, err: err}
	}
	return err
}
