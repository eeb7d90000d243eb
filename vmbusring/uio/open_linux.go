package uio

import (
	"os"

	"loomstore/internal/mapping"
)

func openHardware(path string) (*hardware, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &hardware{
		event: f,
		mapArea: func(index, size int) (*mapping.View, error) {
			return mapOpen(f, int64(index)*int64(os.Getpagesize()), size)
		},
		mapFile: mapFile,
	}, nil
}

// mapOpen maps without Fd, which would take the file out of the poller.
func mapOpen(f *os.File, off int64, size int) (view *mapping.View, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if controlErr := conn.Control(func(fd uintptr) { view, err = mapping.MapShared(fd, off, size, true) }); controlErr != nil {
		return nil, controlErr
	}
	return view, err
}

// mapFile maps the whole of a file.
func mapFile(path string) (*mapping.View, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return mapOpen(f, 0, int(info.Size()))
}
