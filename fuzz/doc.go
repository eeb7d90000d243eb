// Package fuzz holds the fuzz targets of everything that parses bytes it did
// not write: files of a store, shared memory, messages of a peer. It has no
// code of its own; the corpora are in testdata.
package fuzz
