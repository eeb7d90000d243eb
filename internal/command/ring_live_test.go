package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"loomstore/shmring"
)

// changing is a file whose content is another one for each time it is read.
type changing struct {
	bytes.Reader
	contents [][]byte
	reads    int
}

func (c *changing) Seek(int64, int) (int64, error) {
	c.reads++
	c.Reset(c.contents[min(c.reads, len(c.contents)-1)])
	return 0, nil
}

func TestReadStill(t *testing.T) {
	content := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	const size = shmring.ObjectSize
	var never [][]byte
	for i := range stillReads + 1 {
		never = append(never, content(byte(i), size))
	}
	for _, tt := range []struct {
		name     string
		contents [][]byte
		want     []byte
		err      error
		reads    int
	}{
		{"at rest", [][]byte{content(1, size)}, content(1, size), nil, 1},
		{"moves", [][]byte{content(1, size), content(2, size), content(1, size), content(1, size)}, content(1, size), nil, 3},
		{"cut", [][]byte{content(1, size), content(1, 10)}, content(1, 10), nil, 1},
		{"too long", [][]byte{content(1, size+2)}, content(1, size+1), nil, 0},
		{"never at rest", never, nil, errRingMoves, stillReads},
	} {
		f := &changing{contents: tt.contents}
		f.Reset(f.contents[0])
		got, err := readStill(f)
		if !bytes.Equal(got, tt.want) || err != tt.err || f.reads != tt.reads {
			t.Errorf("%s: %d bytes, %v after %d seeks; want %d, %v after %d", tt.name, len(got), err, f.reads, len(tt.want), tt.err, tt.reads)
		}
	}
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(content(3, size))
		_ = w.Close()
	}()
	if got, err := readStill(struct {
		io.Reader
		io.Seeker
	}{r, unseekable{}}); !bytes.Equal(got, content(3, size)) || err != nil {
		t.Errorf("pipe: %d bytes, %v", len(got), err)
	}
}

type unseekable struct{}

func (unseekable) Seek(int64, int) (int64, error) { return 0, errors.New("unseekable") }

// A ring whose two ends are at work is not corrupt.
func TestRingDumpOfALiveRing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no pairs on this system")
	}
	name := fmt.Sprintf("dump-%d", os.Getpid())
	creator, err := shmring.Create(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer creator.Close()
	opener, err := shmring.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opener.Close()
	producer, err := creator.Producer()
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := opener.Consumer()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		for i := 0; ; i++ {
			if err := producer.Push(ctx, make([]byte, 1+i%500)); err != nil {
				ended <- err
				return
			}
		}
	}()
	go func() {
		buf := make([]byte, shmring.MaxMessage)
		for {
			if _, err := consumer.Pop(ctx, buf); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 100 {
		code, out, errs := runMain("ring", "dump", "/dev/shm/demikernel-"+name+":tx")
		if code != ExitOK && !strings.Contains(errs, errRingMoves.Error()) {
			t.Errorf("exit %d, %q, %q", code, errs, out)
			break
		}
	}
	stop()
	for range 2 {
		if err := <-ended; err != context.Canceled {
			t.Errorf("an end: %v", err)
		}
	}
}
