package patch

import (
	"fmt"
	"math/bits"

	"loomstore/internal/checksum"
)

// Digest stands for the hashes of all pages of an image: the sum modulo 2^128
// over pages of a mix of page number and page hash. A sum, so that one changed
// page costs one subtraction and one addition; of mixes, so that two pages
// can not change places unnoticed. It detects accidents, not attackers.
type Digest struct{ Hi, Lo uint64 }

// Add returns d with one page more.
func (d Digest) Add(page int, hash uint64) Digest {
	hi, lo := mix(page, hash)
	var carry uint64
	d.Lo, carry = bits.Add64(d.Lo, lo, 0)
	d.Hi, _ = bits.Add64(d.Hi, hi, carry)
	return d
}

// Sub returns d with one page less.
func (d Digest) Sub(page int, hash uint64) Digest {
	hi, lo := mix(page, hash)
	var borrow uint64
	d.Lo, borrow = bits.Sub64(d.Lo, lo, 0)
	d.Hi, _ = bits.Sub64(d.Hi, hi, borrow)
	return d
}

func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.Hi, d.Lo) }

func mix(page int, hash uint64) (hi, lo uint64) { return checksum.Pair(uint64(page), hash) }
