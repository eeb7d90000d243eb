package aiod

import (
	"encoding/binary"
	"io/fs"
	"time"
)

// Stat is what the file system says about a file: struct stat without the
// differences between machines.
type Stat struct {
	Dev, Ino, Nlink, Rdev uint64
	Mode, UID, GID        uint32 // Mode as in <sys/stat.h>, type bits included
	Size, Blksize, Blocks int64  // Blocks in units of 512 bytes
	Atime, Mtime, Ctime   time.Time
}

// Statvfs is struct statvfs.
type Statvfs struct {
	Bsize, Frsize, Blocks, Bfree, Bavail, Files, Ffree, Favail, Fsid, Flag, Namemax uint64
}

const statvfsSize = 112

// encode lays the structure out as the C library of the machine does.
func (s *Stat) encode() []byte {
	b := make([]byte, statSize)
	le := binary.LittleEndian
	le.PutUint64(b[statDev:], s.Dev)
	le.PutUint64(b[statIno:], s.Ino)
	putNlink(b, s.Nlink)
	le.PutUint32(b[statMode:], s.Mode)
	le.PutUint32(b[statUID:], s.UID)
	le.PutUint32(b[statGID:], s.GID)
	le.PutUint64(b[statRdev:], s.Rdev)
	le.PutUint64(b[statLength:], uint64(s.Size))
	le.PutUint32(b[statBlksize:], uint32(s.Blksize))
	le.PutUint64(b[statBlocks:], uint64(s.Blocks))
	for i, t := range []time.Time{s.Atime, s.Mtime, s.Ctime} {
		le.PutUint64(b[statTimes+16*i:], uint64(t.Unix()))
		le.PutUint64(b[statTimes+16*i+8:], uint64(t.Nanosecond()))
	}
	return b
}

// decodeStat is encode's inverse; b holds statSize bytes.
func decodeStat(b []byte) *Stat {
	le := binary.LittleEndian
	at := func(i int) time.Time {
		return time.Unix(int64(le.Uint64(b[statTimes+16*i:])), int64(le.Uint64(b[statTimes+16*i+8:])))
	}
	return &Stat{
		Dev: le.Uint64(b[statDev:]), Ino: le.Uint64(b[statIno:]), Nlink: nlink(b), Rdev: le.Uint64(b[statRdev:]),
		Mode: le.Uint32(b[statMode:]), UID: le.Uint32(b[statUID:]), GID: le.Uint32(b[statGID:]),
		Size: int64(le.Uint64(b[statLength:])), Blksize: int64(le.Uint32(b[statBlksize:])), Blocks: int64(le.Uint64(b[statBlocks:])),
		Atime: at(0), Mtime: at(1), Ctime: at(2),
	}
}

func (s *Statvfs) encode() []byte {
	b := make([]byte, statvfsSize)
	for i, v := range []uint64{s.Bsize, s.Frsize, s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree, s.Favail, s.Fsid, s.Flag, s.Namemax} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return b
}

func decodeStatvfs(b []byte) *Statvfs {
	var s Statvfs
	for i, p := range []*uint64{&s.Bsize, &s.Frsize, &s.Blocks, &s.Bfree, &s.Bavail, &s.Files, &s.Ffree, &s.Favail, &s.Fsid, &s.Flag, &s.Namemax} {
		*p = binary.LittleEndian.Uint64(b[8*i:])
	}
	return &s
}

// The type bits of Stat.Mode.
const (
	modeType = 0o170000
	modeDir  = 0o040000
	modeLink = 0o120000
)

// fileMode turns the mode bits into those of package fs.
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & modeType {
	case modeDir:
		mode |= fs.ModeDir
	case modeLink:
		mode |= fs.ModeSymlink
	case 0o010000:
		mode |= fs.ModeNamedPipe
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o060000:
		mode |= fs.ModeDevice
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, m2 := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= m2
		}
	}
	return mode
}

// wireMode is the inverse of fileMode for permission bits.
func wireMode(perm fs.FileMode) uint32 {
	m := uint32(perm.Perm())
	for bit, m2 := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if perm&m2 != 0 {
			m |= bit
		}
	}
	return m
}

// fileInfo is a Stat with a name. Sys returns the *Stat.
type fileInfo struct {
	name string
	st   *Stat
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.st.Size }
func (i *fileInfo) Mode() fs.FileMode  { return fileMode(i.st.Mode) }
func (i *fileInfo) ModTime() time.Time { return i.st.Mtime }
func (i *fileInfo) IsDir() bool        { return i.Mode().IsDir() }
func (i *fileInfo) Sys() any           { return i.st }
