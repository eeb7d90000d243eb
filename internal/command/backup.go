package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"loomstore/image"
)

// copyDocument is the document of `backup --json`, `restore --json` and
// `export --json` (docs/cli-json.md).
type copyDocument struct {
	Schema int    `json:"schema"`
	Src    string `json:"src"`
	Dst    string `json:"dst"`
	Store  string `json:"store"`
	Copy   string `json:"copy,omitempty"`
	Epoch  uint64 `json:"epoch"`
	Pages  int    `json:"pages"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
	HeldNS int64  `json:"held_ns"`
	Shared bool   `json:"shared"`
	Unread bool   `json:"unread"`
}

// copier is Backup, Restore or Export of package image.
type copier func(ctx context.Context, src, dst string, o *image.Options, progress func(done, total int)) (image.BackupReport, error)

func newBackup(s *streams) *cobra.Command {
	o := &image.Options{}
	c := newCopy(s, image.Backup, o, &cobra.Command{
		Use:   "backup SRC DST",
		Short: "copy a store while it may be in use",
		Long: `Copy the last committed checkpoint of the store SRC, every page checked, to the
new store DST, which must not exist. A program may have SRC open and go on. DST
appears, complete and durable, or not at all.

On a file system that can share blocks (reflink) the pages are not copied. With
--unread they are not checked either, and the backup takes the same time for any
size; loomctl verify DST checks them afterwards.`,
	})
	c.Flags().BoolVar(&o.Unread, "unread", false, "do not check pages whose blocks are shared (reflink)")
	return c
}

func newRestore(s *streams) *cobra.Command {
	return newCopy(s, image.Restore, nil, &cobra.Command{
		Use:   "restore SRC DIR",
		Short: "make a store from a backup",
		Long: `Copy the store SRC, every page checked, to a new store of its own identity in
DIR, which must not exist or be empty.`,
	})
}

func newExport(s *streams) *cobra.Command {
	var vere bool
	c := newCopy(s, image.Export, nil, &cobra.Command{
		Use:   "export --vere SRC DST",
		Short: "write a snapshot that vere opens",
		Long: `Write the last committed checkpoint of the store SRC, every page checked, as
DST/.urb/chk/image.bin, which is the snapshot that vere 4 opens. DST/.urb/chk
must be empty or not exist.`,
	})
	c.Flags().BoolVar(&vere, "vere", false, "in the format of vere 4 (the only one there is)")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if !vere {
			return &exitError{code: ExitUsage, err: fmt.Errorf("export: no format given"), hint: "usage: " + c.UseLine()}
		}
		return nil
	}
	return c
}

// newCopy makes c the command that copies its first argument to its second.
func newCopy(s *streams, do copier, o *image.Options, c *cobra.Command) *cobra.Command {
	var asJSON bool
	c.Args = usageArgs(cobra.ExactArgs(2))
	c.RunE = func(c *cobra.Command, args []string) error {
		p := s.newProgress(c.Name())
		r, err := do(c.Context(), args[0], args[1], o, p.callback())
		p.end()
		if err != nil {
			return err
		}
		d := copyDocument{Schema: schema, Src: args[0], Dst: args[1], Store: r.State.Store.String(), Epoch: r.State.Epoch,
			Pages: r.State.Pages, Bytes: r.Bytes, Digest: r.State.Digest.String(), HeldNS: r.Held.Nanoseconds(), Shared: r.Shared, Unread: r.Unread}
		if r.Copy != ([16]byte{}) {
			d.Copy = r.Copy.String()
		}
		if asJSON {
			return s.document(d)
		}
		how := ""
		if d.Unread {
			how = ", pages not checked"
		}
		_, err = fmt.Fprintf(s.out, "%s: epoch %d, %d pages, %d bytes, digest %s%s\n", d.Dst, d.Epoch, d.Pages, d.Bytes, d.Digest, how)
		return err
	}
	addJSON(c, &asJSON)
	return c
}
