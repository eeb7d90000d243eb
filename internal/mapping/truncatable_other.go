//go:build !linux || (!amd64 && !arm64)

package mapping

// MapTruncatable is not supported here.
func MapTruncatable(fd uintptr, n int) (*View, error) {
	return nil, unsupported("map truncatable")
}
