//go:build !linux

package aiod

// openDir has no value here: no Client exists.
const openDir = 0

// Start is not supported here.
func Start(string, *Options) (*Client, error) { return nil, unsupported("start") }
