package crash

import (
	"fmt"
	"html"
	"os"
	"strings"
	"testing"

	"loomstore/internal/vfs/memfs"
	"loomstore/internal/vfs/oplog"
)

// matrixColumns are what a power cut leaves of everything that is not durable.
var matrixColumns = []struct {
	name   string
	decide func(memfs.Choice) int
}{
	{"lost", memfs.DropAll},
	{"torn", func(q memfs.Choice) int {
		if q.Kind == memfs.Sector && (q.Off/memfs.SectorSize)%2 == 1 {
			return 0
		}
		return q.Versions - 1
	}},
	{"kept", memfs.KeepAll},
}

// The picture docs/crash-matrix.svg: the operations of one checkpoint, and the
// state that is recovered after a power cut behind each. It is written with
// -update and compared otherwise.
func TestCrashMatrix(t *testing.T) {
	p := loom{size: 1024, create: true}
	m, l := prepared(t, p, history[:2]...)
	old := l.begun
	type line struct {
		text  string
		cells []string
	}
	var lines []line
	x := &explorer{proto: p}
	add := func(text string, m *memfs.FS, l *ledger) {
		row := line{text: text}
		for _, c := range matrixColumns {
			s, g, f := recovered(p, m.CrashClone(memfs.Crash{Decide: c.decide}), l)
			if f != nil {
				t.Fatalf("%s, %s: %v", text, c.name, f)
			}
			_ = s.close()
			row.cells = append(row.cells, map[bool]string{true: "old", false: "new"}[g == old])
		}
		lines = append(lines, row)
	}
	err := x.run(m, l, takes(p, change{6, []int{0, 1, 5}}), &trail{}, func(m *memfs.FS, l *ledger, tr *trail, c crashPoint) {
		text := (*tr.log)[max(len(*tr.log)-1, 0):]
		switch {
		case c.sync != "" || len(text) == 0 || strings.HasPrefix(text[0], "open:") || text[0] == fmt.Sprintf("acknowledged %d", old):
		case c.full != strings.HasPrefix(text[0], "acknowledged"): // each operation once
		default:
			add(text[0], m, l)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	const rowHeight, textWidth, cellWidth = 20, 330, 70
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="monospace" font-size="12">`+"\n",
		textWidth+3*cellWidth, rowHeight*(len(lines)+1)+8)
	for i, c := range matrixColumns {
		fmt.Fprintf(&b, `<text x="%d" y="15">%s</text>`+"\n", textWidth+i*cellWidth+18, c.name)
	}
	for r, row := range lines {
		y := rowHeight * (r + 1)
		fmt.Fprintf(&b, `<text x="4" y="%d">%s</text>`+"\n", y+15, html.EscapeString(row.text))
		for i, cell := range row.cells {
			color := map[string]string{"old": "#d8dee9", "new": "#a3d9a5"}[cell]
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
				textWidth+i*cellWidth, y+1, cellWidth-2, rowHeight-2, color, textWidth+i*cellWidth+20, y+15, cell)
		}
	}
	b.WriteString("</svg>\n")
	const name = "../../docs/crash-matrix.svg"
	if oplog.Update() {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("%s is not what the explorer finds; run the test with -update", name)
	}
}
