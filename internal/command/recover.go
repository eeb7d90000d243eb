package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"loomstore/image"
	"loomstore/patch"
)

// recoverDocument is the document of `recover --json` (docs/cli-json.md).
type recoverDocument struct {
	Schema int `json:"schema"`
	recovery
}

// recovery is what opening a store did or would do.
type recovery struct {
	Action     string   `json:"action"`
	Epoch      uint64   `json:"epoch"`
	Pages      int      `json:"pages"`
	PatchPages int      `json:"patch_pages"`
	Kept       []string `json:"kept"`
	Reason     string   `json:"reason"`
	*refusal
}

// refusal is there if the store was not recovered.
type refusal struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	File    *string `json:"file"`
	Page    *int64  `json:"page"`
}

func newRecovery(r image.Report) recovery {
	return recovery{Action: string(r.Action), Epoch: r.Epoch, Pages: r.Pages,
		PatchPages: r.PatchPages, Kept: append([]string{}, r.Kept...), Reason: r.Reason}
}

// refused makes err the outcome.
func (d recovery) refused(err error) recovery {
	code, _ := classify(err)
	d.Action, d.Kept = string(image.ActionRefused), []string{}
	if code == ExitNotStore {
		d.Action = string(image.ActionNone) // there is nothing that could be refused
	}
	d.refusal = &refusal{Code: codeName(code), Message: message(code, err)}
	if d.Reason == "" {
		d.Reason = d.Message
	}
	if defect, ok := errors.AsType[*patch.Defect](err); ok {
		d.File, d.Page = &defect.File, known(defect.Page)
	}
	return d
}

type recoverFlags struct {
	dryRun, discard, asJSON bool
}

func newRecover(s *streams) *cobra.Command {
	var f recoverFlags
	c := &cobra.Command{
		Use:   "recover [flags] DIR",
		Short: "bring a store into order, as opening it does",
		Long: `Say what opening the store in DIR would do, then do it, and leave the store
closed in order: finish a checkpoint that was committed but not applied, or make
a vere snapshot a store. A store that can not be recovered without loss is
refused and nothing is changed. Where there is no store none is made.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			report, err := s.recover(c.Context(), args[0], f)
			if f.asJSON {
				d := recoverDocument{Schema: schema, recovery: newRecovery(report)}
				if err != nil {
					d.recovery = d.refused(err)
				}
				return errors.Join(err, s.document(d))
			}
			if err == nil {
				_, err = fmt.Fprintln(s.out, describe(report))
			}
			return err
		},
	}
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and change nothing")
	c.Flags().BoolVar(&f.discard, "discard-damaged", false, "go on without a vere patch that can not be read; its files are kept")
	addJSON(c, &f.asJSON)
	return c
}

// recover plans, tells the plan on stderr and carries it out.
func (s *streams) recover(ctx context.Context, dir string, f recoverFlags) (image.Report, error) {
	o := &image.Options{DiscardDamaged: f.discard}
	plan, err := image.Examine(ctx, dir, o)
	if err != nil || f.dryRun {
		return plan, err
	}
	fmt.Fprintf(s.err, "loomctl: plan: %s\n", describe(plan))
	store, done, err := image.Open(ctx, dir, o)
	if err != nil {
		return done, err
	}
	return done, store.Close(context.WithoutCancel(ctx))
}

// describe is a report on one line.
func describe(r image.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: epoch %d, %d pages", r.Action, r.Epoch, r.Pages)
	if r.PatchPages > 0 {
		fmt.Fprintf(&b, ", %d of them from a patch", r.PatchPages)
	}
	if len(r.Kept) > 0 {
		fmt.Fprintf(&b, ", kept as %s", strings.Join(r.Kept, " and "))
	}
	fmt.Fprintf(&b, ": %s", r.Reason)
	return b.String()
}
