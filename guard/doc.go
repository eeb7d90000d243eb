// Package guard says where the guard page of an arena goes.
//
// An arena is used from both ends: live bytes are [0, low) and [high, size),
// and what lies between is free space. One page in the middle of the free
// space is made inaccessible, so that two ends growing towards each other meet
// a fault and not each other's bytes. A store into it is not yet the end: while
// the watermarks have moved since the page was placed there is a new middle,
// and the page goes there. When there is no room left, or the middle is where
// the page already is, the space is exhausted.
//
// This package is arithmetic: it touches no memory. Package fault applies it,
// once in Go and once in the fault handler's assembly, and its tests hold the
// two against each other.
package guard
