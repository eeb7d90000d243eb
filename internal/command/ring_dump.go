package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"loomstore/shmring"
)

// ringDump is the document of `ring dump --json`.
type ringDump struct {
	Schema     int          `json:"schema"`
	PopOffset  *uint64      `json:"pop_offset,omitempty"` // absent in an object of the wrong size
	PushOffset *uint64      `json:"push_offset,omitempty"`
	Used       *int         `json:"used,omitempty"` // absent where an offset is impossible
	Free       *int         `json:"free,omitempty"`
	Records    []ringRecord `json:"records"`
	End        string       `json:"end"`
}

type ringRecord struct {
	Kind string `json:"kind"`
	Len  int    `json:"len"`
	Sum  string `json:"fnv1a64"`
}

func newRingDump(s *streams) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "dump FILE",
		Short: "decode one ring object, such as /dev/shm/demikernel-NAME:tx, or a copy of one",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			object, err := readRing(args[0])
			if err != nil {
				return err
			}
			d := shmring.ReadDump(object)
			doc := newRingDocument(d)
			if asJSON {
				err = s.ringJSON(doc)
			} else {
				err = printRingDump(s.out, doc)
			}
			return errors.Join(err, ringError(d.Err))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document (docs/cli-json.md)")
	return c
}

// readRing reads a ring object, or a copy of one.
func readRing(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	object, err := readStill(f)
	if errors.Is(err, errRingMoves) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return object, err
}

// stillReads is how often readStill reads a ring that does not stand still.
const stillReads = 1000

var errRingMoves = errors.New("the ring is in use and was never the same twice")

// readStill reads until two reads are the same: while both ends are at work, a
// single one is made of many states of the ring, and looks corrupt. It reads
// no more than tells that a file is too long, and once what can not be read
// twice, such as a pipe.
func readStill(f io.ReadSeeker) ([]byte, error) {
	var last []byte
	for range stillReads {
		object, err := io.ReadAll(io.LimitReader(f, shmring.ObjectSize+1))
		if err != nil || len(object) != shmring.ObjectSize || bytes.Equal(object, last) {
			return object, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return object, nil
		}
		last = object
	}
	return nil, errRingMoves
}

func newRingDocument(d *shmring.Dump) *ringDump {
	doc := &ringDump{Schema: schema, Records: []ringRecord{}, End: "empty"}
	var corrupt *shmring.CorruptError
	switch {
	case errors.As(d.Err, &corrupt):
		doc.End = string(corrupt.Defect)
	case d.Pending:
		doc.End = "pending"
	}
	if doc.End != string(shmring.DefectSize) {
		doc.PopOffset, doc.PushOffset = &d.PopOffset, &d.PushOffset
	}
	if d.Placed {
		doc.Used, doc.Free = &d.Used, &d.Free
	}
	for _, r := range d.Records {
		kind := "data"
		if r.EOF {
			kind = "eof"
		}
		doc.Records = append(doc.Records, ringRecord{Kind: kind, Len: r.Len, Sum: fmt.Sprintf("%016x", r.Sum)})
	}
	return doc
}

func printRingDump(w io.Writer, d *ringDump) error {
	var err error
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	if d.PopOffset != nil {
		line("pop_offset   %d", *d.PopOffset)
		line("push_offset  %d", *d.PushOffset)
	}
	if d.Used != nil {
		line("used         %d", *d.Used)
		line("free         %d", *d.Free)
	}
	for _, r := range d.Records {
		line("%-4s %5d  %s", r.Kind, r.Len, r.Sum)
	}
	line("end          %s", d.End)
	return err
}
