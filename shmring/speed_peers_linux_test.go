package shmring

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// socket is a unix stream socket with a u32 length in front of each message.
type socket struct {
	conn *net.UnixConn
	r    io.Reader
	w    *bufio.Writer // nil: one write a message
	buf  []byte
}

func newSocket(buffered bool) func(string, bool) (line, error) {
	return func(name string, first bool) (line, error) {
		addr := &net.UnixAddr{Name: "@" + name, Net: "unix"}
		s := &socket{}
		if first {
			l, err := net.ListenUnix("unix", addr)
			if err != nil {
				return nil, err
			}
			fmt.Println("ready")
			if s.conn, err = l.AcceptUnix(); err != nil {
				return nil, err
			}
			l.Close()
		} else {
			var err error
			if s.conn, err = net.DialUnix("unix", nil, addr); err != nil {
				return nil, err
			}
		}
		s.r = s.conn
		if buffered {
			s.r, s.w = bufio.NewReaderSize(s.conn, 65536), bufio.NewWriterSize(s.conn, 65536)
		}
		return s, nil
	}
}

func (s *socket) write(m []byte) error {
	if s.w != nil {
		var length [4]byte
		binary.LittleEndian.PutUint32(length[:], uint32(len(m)))
		if _, err := s.w.Write(length[:]); err != nil {
			return err
		}
		_, err := s.w.Write(m)
		return err
	}
	s.buf = binary.LittleEndian.AppendUint32(s.buf[:0], uint32(len(m)))
	s.buf = append(s.buf, m...)
	_, err := s.conn.Write(s.buf)
	return err
}

// read takes a message off the socket: unbuffered, the size is known.
func (s *socket) read(buf []byte) error {
	if s.w != nil {
		var length [4]byte
		if _, err := io.ReadFull(s.r, length[:]); err != nil {
			return err
		}
		_, err := io.ReadFull(s.r, buf[:binary.LittleEndian.Uint32(length[:])])
		return err
	}
	if cap(s.buf) < 4+len(buf) {
		s.buf = make([]byte, 4+len(buf))
	}
	_, err := io.ReadFull(s.r, s.buf[:4+len(buf)])
	copy(buf, s.buf[4:4+len(buf)])
	return err
}

func (s *socket) send(n, size int) error {
	m := message(size, 7)
	for range n {
		if err := s.write(m); err != nil {
			return err
		}
	}
	if s.w != nil {
		return s.w.Flush()
	}
	return nil
}

func (s *socket) receive(n, size int) error {
	buf := make([]byte, size)
	for range n {
		if err := s.read(buf); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) turn(n, size int) error {
	m, buf := message(size, 7), make([]byte, size)
	for range n {
		if err := s.write(m); err != nil {
			return err
		}
		if err := s.read(buf); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) answer(n, size int) error {
	buf := make([]byte, size)
	for range n {
		if err := s.read(buf); err != nil {
			return err
		}
		if err := s.write(buf); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) Close() error { return s.conn.Close() }

// measureChannel passes messages through a Go channel, copying them in and
// out of a pool as large as a ring.
func measureChannel(shape string, size int) float64 {
	n := benchCount(shape, "channel", size)
	slots := max(1, 65536/(size+8))
	type pipe struct{ full, empty chan []byte }
	newPipe := func() pipe {
		p := pipe{make(chan []byte, slots), make(chan []byte, slots)}
		for range slots {
			p.empty <- make([]byte, size)
		}
		return p
	}
	push := func(p pipe, m []byte) { b := <-p.empty; copy(b, m); p.full <- b }
	pop := func(p pipe, buf []byte) { b := <-p.full; copy(buf, b); p.empty <- b }
	there, back := newPipe(), newPipe()
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		m, buf := message(size, 7), make([]byte, size)
		for range n {
			push(there, m)
			if shape == "round trip" {
				pop(back, buf)
			}
		}
	}()
	buf := make([]byte, size)
	for range n {
		pop(there, buf)
		if shape == "round trip" {
			push(back, buf)
		}
	}
	<-done
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}
