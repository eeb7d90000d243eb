// Package fuzz holds the fuzz targets for everything here that parses bytes
// which somebody else may have written: files, shared memory, messages. It has
// no code of its own. Each target states what must hold for any input: no
// panic, nothing accepted whose hashes do not match, nothing outside the
// bounds, no allocation beyond the input's size.
//
// The seeds are small cases of each kind and run with every go test:
//
//	go test -fuzz=FuzzVerePatch ./fuzz
package fuzz
