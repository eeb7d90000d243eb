package packetgen

import (
	"bytes"
	"fmt"
	"slices"

	"loomstore/vmbusring"
)

// Compare tells how a packet that was read differs from the one that was
// generated, or returns nil. The padding of the payload must be zero.
func Compare(got, want *vmbusring.Packet) error {
	switch {
	case got.Type != want.Type:
		return fmt.Errorf("packetgen: type %v, expected %v", got.Type, want.Type)
	case got.HasTransactionID != want.HasTransactionID:
		return fmt.Errorf("packetgen: transaction id is there: %v, expected %v", got.HasTransactionID, want.HasTransactionID)
	case want.HasTransactionID && got.TransactionID != want.TransactionID:
		return fmt.Errorf("packetgen: transaction id %#x, expected %#x", got.TransactionID, want.TransactionID)
	case got.CompletionRequested != want.CompletionRequested:
		return fmt.Errorf("packetgen: completion requested: %v, expected %v", got.CompletionRequested, want.CompletionRequested)
	case got.TransferSet != want.TransferSet || !slices.Equal(got.TransferRanges, want.TransferRanges):
		return fmt.Errorf("packetgen: set %#x with %v, expected %#x with %v", got.TransferSet, got.TransferRanges, want.TransferSet, want.TransferRanges)
	case !slices.EqualFunc(got.GPARanges, want.GPARanges, sameRange):
		return fmt.Errorf("packetgen: ranges %v, expected %v", got.GPARanges, want.GPARanges)
	}
	return comparePayload(got.Payload, want.Payload)
}

func sameRange(a, b vmbusring.GPARange) bool {
	return a.Len == b.Len && a.Offset == b.Offset && slices.Equal(a.PFNs, b.PFNs)
}

func comparePayload(got, want []byte) error {
	n := len(want)
	if len(got) != (n+7)&^7 {
		return fmt.Errorf("packetgen: payload of %d bytes, expected %d and its padding", len(got), n)
	}
	if !bytes.Equal(got[:n], want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		return fmt.Errorf("packetgen: payload byte %d of %d is %#x, expected %#x", at, n, got[at], want[at])
	}
	for _, b := range got[n:] {
		if b != 0 {
			return fmt.Errorf("packetgen: padding of a payload of %d bytes is %#x, expected zeroes", n, got[n:])
		}
	}
	return nil
}
