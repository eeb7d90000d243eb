package command

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/spf13/cobra"

	"loomstore/vmbusring"
)

// vmbusDump is the document of `vmbus dump --json` (docs/cli-json.md). Reads
// takes the place of Packets with --pipe.
type vmbusDump struct {
	Schema  int           `json:"schema"`
	Control vmbusControl  `json:"control"`
	Packets []vmbusPacket `json:"packets,omitzero"`
	Reads   []vmbusRead   `json:"reads,omitzero"`
	End     string        `json:"end"`
	Free    *int          `json:"free"`
}

type vmbusControl struct {
	In              uint32 `json:"in"`
	Out             uint32 `json:"out"`
	InterruptMask   uint32 `json:"interrupt_mask"`
	PendingSendSize uint32 `json:"pending_send_size"`
	FeatureBits     uint32 `json:"feature_bits"`
}

type vmbusPacket struct {
	Type          string  `json:"type"`
	TransactionID *string `json:"transaction_id"`
	PayloadLen    int     `json:"payload_len"`
	FNV1a64       string  `json:"fnv1a64"`
	Ranges        any     `json:"ranges"`
	At            int     `json:"at"`
}

type vmbusGPARange struct {
	Offset uint32   `json:"offset"`
	Len    uint32   `json:"len"`
	GPNs   []uint64 `json:"gpns"`
}

type vmbusRead struct {
	Len     int    `json:"len"`
	FNV1a64 string `json:"fnv1a64"`
}

func newVMBusDump(s *streams) *cobra.Command {
	var (
		size   ringSizeFlag
		asJSON bool
		pipe   = choiceFlag{choices: []string{"byte", "message", "raw"}}
	)
	c := &cobra.Command{
		Use:   "dump --ring-size N FILE",
		Short: "decode one ring: a control page and N bytes of data",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			mem, err := loadRing(args[0], int(size))
			if err != nil {
				return err
			}
			dump, failure := dumpRing(mem, pipe.value)
			if asJSON {
				err = s.document(dump)
			} else {
				err = dump.print(s.out)
			}
			if err != nil {
				return err
			}
			return damaged(failure)
		},
	}
	size.addTo(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	c.Flags().Var(&pipe, "pipe", "decode the ring as a pipe of this kind")
	return c
}

// loadRing reads a dump into memory of our own: nothing changes while it is
// decoded, and nothing of it is changed.
func loadRing(name string, size int) (vmbusring.Memory, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	want := int64(vmbusring.PageSize) + int64(size)
	if info.Size() != want {
		return nil, &exitError{
			code: ExitMismatch,
			err:  fmt.Errorf("%s has %d bytes, expected %d for a ring of %d", name, info.Size(), want, size),
			hint: "--ring-size counts the data without the control page of 4096 bytes",
		}
	}
	b := make([]byte, want)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return vmbusring.Over(b, vmbusring.PageSize)
}

// dumpRing decodes a ring up to its end or the first thing wrong with it.
func dumpRing(mem vmbusring.Memory, pipe string) (*vmbusDump, error) {
	d := &vmbusDump{Schema: schema, Control: vmbusControl(vmbusring.Inspect(mem))}
	w, err := vmbusring.NewWriter(mem)
	if err == nil {
		var free int
		free, err = w.Free()
		d.Free = &free
	}
	var r *vmbusring.Reader
	if err == nil {
		r, err = vmbusring.NewReader(mem, 0)
	}
	read := d.readPackets
	switch pipe {
	case "byte":
		read = d.readPipe(vmbusring.PipeByte)
	case "message":
		read = d.readPipe(vmbusring.PipeMessage)
	case "raw":
		read = d.readPipe(vmbusring.PipeRaw)
	}
	if pipe == "" {
		d.Packets = []vmbusPacket{}
	} else {
		d.Reads = []vmbusRead{}
	}
	for err == nil {
		err = read(r)
	}
	var corrupt *vmbusring.CorruptError
	switch {
	case errors.Is(err, vmbusring.ErrEmpty):
		d.End = "empty"
		return d, nil
	case errors.Is(err, io.EOF):
		d.End = "eof"
		return d, nil
	case errors.As(err, &corrupt):
		d.End = string(corrupt.Code)
	}
	return d, err
}

func (d *vmbusDump) readPackets(r *vmbusring.Reader) error {
	var p vmbusring.Packet
	if err := r.Read(&p); err != nil {
		return err
	}
	out := vmbusPacket{Type: p.Type.String(), PayloadLen: len(p.Payload), FNV1a64: fnv1a64(p.Payload), At: p.At}
	if p.HasTransactionID {
		id := fmt.Sprintf("0x%016x", p.TransactionID)
		out.TransactionID = &id
	}
	switch p.Type {
	case vmbusring.GPADirect:
		ranges := make([]vmbusGPARange, 0, len(p.GPARanges))
		for _, g := range p.GPARanges {
			ranges = append(ranges, vmbusGPARange{Offset: g.Offset, Len: g.Len, GPNs: g.PFNs})
		}
		out.Ranges = ranges
	case vmbusring.TransferPages:
		ranges := make([][2]uint32, 0, len(p.TransferRanges))
		for _, t := range p.TransferRanges {
			ranges = append(ranges, [2]uint32{t.ByteCount, t.ByteOffset})
		}
		out.Ranges = ranges
	}
	d.Packets = append(d.Packets, out)
	return nil
}

// readPipe returns the function that decodes one message, or up to 4096 bytes
// of a stream.
func (d *vmbusDump) readPipe(mode vmbusring.PipeMode) func(*vmbusring.Reader) error {
	decoder, buf := vmbusring.NewPipeDecoder(mode), make([]byte, 4096)
	return func(r *vmbusring.Reader) error {
		n, err := decoder.Read(r, buf)
		var large *vmbusring.MessageTooLargeError
		if errors.As(err, &large) {
			buf = make([]byte, large.Len) // a packet of the file: bounded by the ring
			n, err = decoder.Read(r, buf)
		}
		if err == nil {
			d.Reads = append(d.Reads, vmbusRead{Len: n, FNV1a64: fnv1a64(buf[:n])})
		}
		return err
	}
}

func (d *vmbusDump) print(out io.Writer) error {
	c := d.Control
	_, err := fmt.Fprintf(out, "in %d, out %d, interrupt mask %#x, pending send size %d, feature bits %#x\n",
		c.In, c.Out, c.InterruptMask, c.PendingSendSize, c.FeatureBits)
	if err != nil {
		return err
	}
	for _, p := range d.Packets {
		id := "-"
		if p.TransactionID != nil {
			id = *p.TransactionID
		}
		if _, err := fmt.Fprintf(out, "%8d %-14s %-18s %7d bytes, fnv1a64 %s\n", p.At, p.Type, id, p.PayloadLen, p.FNV1a64); err != nil {
			return err
		}
	}
	for _, r := range d.Reads {
		if _, err := fmt.Fprintf(out, "%7d bytes, fnv1a64 %s\n", r.Len, r.FNV1a64); err != nil {
			return err
		}
	}
	if d.Free != nil {
		_, err = fmt.Fprintf(out, "end: %s, free %d\n", d.End, *d.Free)
	} else {
		_, err = fmt.Fprintf(out, "end: %s\n", d.End)
	}
	return err
}

func fnv1a64(b []byte) string {
	h := fnv.New64a()
	h.Write(b)
	return fmt.Sprintf("%016x", h.Sum64())
}
