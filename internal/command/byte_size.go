package command

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a flag's value: a number of bytes, with K, M, G or T for powers
// of 1024.
type byteSize int64

const sizeUnits = "KMGT"

func (b *byteSize) Set(text string) error {
	digits, unit := text, int64(1)
	if n := len(text); n > 0 {
		if i := strings.IndexByte(sizeUnits, text[n-1]&^0x20); i >= 0 {
			digits, unit = text[:n-1], 1<<(10*(i+1))
		}
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a size such as 4194304, 512M or 4G", text)
	}
	*b = byteSize(v * unit)
	return nil
}

func (b *byteSize) String() string {
	v, unit := int64(*b), ""
	for _, u := range sizeUnits {
		if v == 0 || v%1024 != 0 {
			break
		}
		v, unit = v/1024, string(u)
	}
	return strconv.FormatInt(v, 10) + unit
}

func (b *byteSize) Type() string { return "SIZE" }
