// Package fuzz has the fuzz targets of everything that parses bytes which
// somebody else wrote: files, shared memory, peers. One file a part; corpora
// are in testdata. Run one with go test -fuzz FuzzName ./fuzz.
package fuzz
