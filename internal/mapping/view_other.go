//go:build !linux

package mapping

// MapShared is not supported here.
func MapShared(fd uintptr, off int64, n int, writable bool) (*View, error) {
	return nil, unsupported("map shared")
}
