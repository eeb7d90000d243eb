package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"loomstore/image"
	"loomstore/internal/vfs"
	"loomstore/patch"
)

// infoDocument is the document of `info --json` (docs/cli-json.md).
type infoDocument struct {
	Schema       int              `json:"schema"`
	Dir          string           `json:"dir"`
	Layout       string           `json:"layout"`
	Store        *string          `json:"store"`
	Epoch        uint64           `json:"epoch"`
	Applied      uint64           `json:"applied_epoch"`
	Pages        int              `json:"pages"`
	PageSize     int              `json:"page_size"`
	LowWatermark int64            `json:"low_watermark"`
	Digest       *string          `json:"digest"`
	AppRecord    string           `json:"app_record"`
	Clean        bool             `json:"clean"`
	Files        map[string]int64 `json:"files"`
	Hazard       string           `json:"hazard,omitempty"`
	Plan         recovery         `json:"plan"`
}

func newInfoDocument(i *image.Info) infoDocument {
	d := infoDocument{Schema: schema, Dir: i.Dir, Layout: string(i.Layout), Epoch: i.State.Epoch, Applied: i.Applied, Pages: i.State.Pages,
		PageSize: patch.Standard.PageSize, LowWatermark: i.State.Low, AppRecord: hex.EncodeToString(i.State.App), Clean: i.Clean,
		Files: i.Lengths, Hazard: vfs.Hazard(i.Dir), Plan: newRecovery(i.Plan)}
	if i.State.Store != (patch.UUID{}) {
		store, digest := i.State.Store.String(), i.State.Digest.String()
		d.Store, d.Digest = &store, &digest
	}
	if i.Err != nil {
		d.Plan = d.Plan.refused(i.Err)
	}
	return d
}

func newInfo(s *streams) *cobra.Command {
	var check, asJSON bool
	c := &cobra.Command{
		Use:   "info [--check] DIR",
		Short: "say what a store's files hold, without touching them",
		Long: `Say what the files of the store in DIR hold and what opening it would do. Nothing
is ever written and no lock is taken; beside a program that has the store open
what is said may be a moment old, and a plan to apply means that it is at it.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return s.info(c.Context(), args[0], check, asJSON)
		},
	}
	c.Flags().BoolVar(&check, "check", false, fmt.Sprintf("exit with %d if opening the store would have work to do", ExitPending))
	addJSON(c, &asJSON)
	return c
}

func (s *streams) info(ctx context.Context, dir string, check, asJSON bool) error {
	i, err := image.Inspect(ctx, dir, nil)
	if err != nil {
		return err
	}
	if asJSON {
		err = s.document(newInfoDocument(i))
	} else {
		err = printInfo(s.out, i)
	}
	switch {
	case err != nil:
		return err
	case i.Err != nil:
		return i.Err
	case check && i.Plan.Action != image.ActionNone:
		return &exitError{code: ExitPending, err: fmt.Errorf("%s: recovery pending: %s", dir, i.Plan.Reason), hint: "opening the store does it, or loomctl recover"}
	}
	return nil
}

func printInfo(w io.Writer, i *image.Info) error {
	var lines [][2]string
	add := func(name, format string, args ...any) {
		lines = append(lines, [2]string{name, fmt.Sprintf(format, args...)})
	}
	add("directory", "%s", i.Dir)
	add("layout", "%s", i.Layout)
	if i.Layout == image.LayoutLoom {
		add("store", "%s", i.State.Store)
		add("epoch", "%d", i.State.Epoch)
		add("applied", "%d", i.Applied)
	}
	add("pages", "%d of %d bytes", i.State.Pages, patch.Standard.PageSize)
	if i.Layout == image.LayoutLoom {
		add("low", "%d", i.State.Low)
		add("digest", "%s", i.State.Digest)
		add("app record", "%d bytes", len(i.State.App))
		add("clean", "%t", i.Clean)
	}
	for _, name := range slices.Sorted(maps.Keys(i.Lengths)) {
		add(name, "%d bytes", i.Lengths[name])
	}
	if hazard := vfs.Hazard(i.Dir); hazard != "" {
		add("hazard", "%s", hazard)
	}
	add("on open", "%s", describe(i.Plan))
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "%-12s %s\n", l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}
