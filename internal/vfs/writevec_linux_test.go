package vfs

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// memory is a file of bytes.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// A kernel may write any part of what it is given.
func TestWriteVecWithShortWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bufs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 5), 0, 20).Draw(t, "buffers")
		want := bytes.Join(bufs, nil)
		file := make(memory, 3+len(want))
		n, err := writeVec(file, bufs, 3, func(batch [][]byte, off int64) (int, error) {
			all := bytes.Join(batch, nil)
			if len(all) == 0 {
				return 0, nil
			}
			n := rapid.IntRange(1, len(all)).Draw(t, "written")
			return file.WriteAt(all[:n], off)
		})
		if err != nil || n != int64(len(want)) || !bytes.Equal(file[3:], want) {
			t.Fatalf("wrote %d bytes %q, %v; want %q", n, file[3:], err, want)
		}
	})
}

func TestWriteVecWithoutProgress(t *testing.T) {
	n, err := writeVec(nil, [][]byte{{1}, {2}}, 0, func([][]byte, int64) (int, error) { return 0, nil })
	if n != 0 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %d, %v; want ErrShortWrite", n, err)
	}
}
