package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// keepLog writes the log of a recording beside the disks of its violations.
func (c *checker) keepLog(r *rig, d driver, rec recording, seed uint64) error {
	if c.keepDir == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(c.keepDir, fmt.Sprintf("%s-%s-%d.log", d.name, r.fs.name, seed)))
	if err != nil {
		return err
	}
	rec.list(f)
	return f.Close()
}

// list writes a line for each event, with what the blocks of writes hold: a
// page of the workload, a block of ext4's journal, or how they begin.
func (rec recording) list(w io.Writer) {
	known := map[string]string{} // by how a block of a page begins
	learn := func(l *ledger) {
		page := make([]byte, pageSize)
		for p, key := range l.States[len(l.States)-1] {
			if key == 0 {
				continue
			}
			fill(page, key, p)
			for off := 0; off < pageSize; off += sectorSize {
				known[string(page[off:off+16])] = fmt.Sprintf("page %d+%d of attempt %#x", p, off, key)
			}
		}
	}
	l := rec.ledger.clone()
	learn(&l)
	for i, e := range rec.log {
		fmt.Fprintf(w, "%4d ", i+1)
		switch e.kind {
		case flushed:
			fmt.Fprint(w, "flush")
		case marked:
			l.apply(e.mark)
			learn(&l)
			fmt.Fprintf(w, "%s: acknowledged %d, begun %d, %+v", e.mark.Kind, l.Acked, l.Begun, e.mark.Change)
		case written, refused:
			fmt.Fprintf(w, "%s %d bytes at block %d", map[kind]string{written: "write", refused: "EIO for"}[e.kind], e.n, e.off/blockSize)
			if e.zeros() {
				fmt.Fprint(w, ", zeros")
			}
			for off := 0; off+sectorSize <= len(e.data); off += blockSize {
				b := e.data[off : off+sectorSize]
				if s := known[string(b[:16])]; s != "" {
					fmt.Fprintf(w, "; %s", s)
				} else if bytes.HasPrefix(b, jbd2Magic) {
					fmt.Fprintf(w, "; jbd2 block of kind %d, transaction %d", b[7], binary.BigEndian.Uint32(b[8:]))
				} else {
					fmt.Fprintf(w, "; %x", b[:8])
				}
			}
		}
		fmt.Fprintln(w)
	}
}

var jbd2Magic = []byte{0xc0, 0x3b, 0x39, 0x98}
