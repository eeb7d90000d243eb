package vmbusring

// ControlWords are the values of a control page at one moment, unchecked.
type ControlWords struct {
	In, Out, InterruptMask, PendingSendSize, FeatureBits uint32
}

// Inspect loads the words of a control page, each once, and changes nothing.
func Inspect(mem Memory) ControlWords {
	c := mem.Control()
	return ControlWords{
		In:              c.In.Load(),
		Out:             c.Out.Load(),
		InterruptMask:   c.InterruptMask.Load(),
		PendingSendSize: c.PendingSendSize.Load(),
		FeatureBits:     c.FeatureBits.Load(),
	}
}
