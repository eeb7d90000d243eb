package main

import (
	"encoding/binary"
	"os"
	"syscall"
)

func putWord(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) }

func fdatasync(f *os.File) error {
	return os.NewSyscallError("fdatasync", syscall.Fdatasync(int(f.Fd())))
}
