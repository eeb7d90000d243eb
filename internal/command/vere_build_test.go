package command

import (
	"encoding/binary"
	"strings"

	"loomstore/internal/checksum"
)

// verePage is a page of a generation, different for each pair.
func verePage(page, generation int) string {
	b := binary.LittleEndian.AppendUint64(nil, uint64(page)<<32|uint64(generation))
	return strings.Repeat(string(b), 16384/len(b))
}

// vereImage is an image of whole pages, each of the generation given for it.
func vereImage(generations ...int) string {
	var b strings.Builder
	for page, generation := range generations {
		b.WriteString(verePage(page, generation))
	}
	return b.String()
}

// verePatch is control.bin and memory.bin of a patch that brings pages to
// generation 2 (spec/vere.md section 3).
func verePatch(total int, pages ...int) (control, memory string) {
	le := binary.LittleEndian
	c := le.AppendUint32(nil, 2)
	c = le.AppendUint32(c, 0)
	c = le.AppendUint32(c, uint32(total))
	c = le.AppendUint32(c, uint32(len(pages)))
	for _, page := range pages {
		content := verePage(page, 2)
		c = le.AppendUint32(c, uint32(page))
		c = le.AppendUint32(c, checksum.Sum32([]byte(content)))
		memory += content
	}
	le.PutUint32(c[4:], checksum.Sum32(c[8:]))
	return string(c), memory
}
