package crash

import (
	"math/rand/v2"
	"strconv"
	"strings"

	"loomstore/internal/vfs/memfs"
	"loomstore/patch"
)

// unit is what is lost, kept, torn or garbled as one: a page, a block of
// control.bin or sums.bin, a length, a name. Within a page the fate of every
// single sector makes no difference to recovery, which asks whether its hash
// is right; sampling by sectors checks that assumption.
type unit struct {
	kind memfs.Kind
	name string
	off  int64
}

// chooser answers memfs's questions unit by unit, with digits.
type chooser struct {
	size  int64 // of a page
	clean bool  // no garbage
	units map[unit]int
	// entries counts the directory operations asked about, by name.
	entries map[string]int64
	radix   []int // number of outcomes of each unit, in the order of the questions
	digit   []int
	// pick gives the digit of a new unit.
	pick func(u unit, radix int) int
	salt uint64
}

func (c *chooser) unitOf(q memfs.Choice) unit {
	u := unit{kind: q.Kind, name: q.Name, off: q.Off}
	if q.Kind == memfs.Entry {
		// Each operation on a name is a question of its own.
		c.entries[q.Name]++
		u.off = c.entries[q.Name]
	}
	if q.Kind != memfs.Sector {
		return u
	}
	if strings.HasSuffix(q.Name, patch.ControlFile) || strings.HasSuffix(q.Name, patch.SumsFile) {
		u.off -= q.Off % patch.BlockSize
	} else if c.size > memfs.SectorSize {
		u.off -= q.Off % c.size
	}
	return u
}

// outcomes returns how many digits a unit has: its versions, and for sectors
// also torn and garbage. A page smaller than a sector shares it with others
// that no patch covers, so garbage is not legal there; real pages are larger.
func (c *chooser) outcomes(q memfs.Choice) int {
	if q.Kind != memfs.Sector {
		return q.Versions
	}
	return q.Versions + c.extra(q.Name)
}

// extra is how many outcomes a sector of a file has beside its versions.
func (c *chooser) extra(name string) int {
	switch {
	case strings.HasSuffix(name, patch.ImageFile) && c.size < memfs.SectorSize:
		return 0
	case c.clean:
		return 1
	}
	return 2
}

func (c *chooser) decide(q memfs.Choice) int {
	switch {
	case q.Kind == memfs.Allocation:
		return 0 // reads the same; only space depends on it
	case strings.HasSuffix(q.Name, "/lock"):
		return q.Versions - 1
	}
	u := c.unitOf(q)
	i, known := c.units[u]
	if !known {
		i = len(c.radix)
		c.units[u] = i
		c.radix = append(c.radix, c.outcomes(q))
		if i == len(c.digit) {
			c.digit = append(c.digit, c.pick(u, c.radix[i]))
		}
	}
	return c.answer(q, c.digit[i], c.radix[i])
}

func (c *chooser) answer(q memfs.Choice, digit, radix int) int {
	if q.Kind != memfs.Sector {
		return digit
	}
	versions := radix - c.extra(q.Name) // of the unit's first sector
	switch {
	case digit < versions-1:
		return min(digit, q.Versions-1)
	case digit == versions-1:
		return q.Versions - 1
	case digit == versions: // torn: some sectors old, some new
		if mixed(c.salt, uint64(q.Off))&1 == 0 {
			return 0
		}
		return q.Versions - 1
	default:
		return memfs.Garbage
	}
}

func mixed(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b/memfs.SectorSize*0xbf58476d1ce4e5b9
	x ^= x >> 29
	x *= 0x94d049bb133111eb
	return x >> 40
}

func (c *chooser) reset(digit []int) {
	clear(c.units)
	clear(c.entries)
	c.radix, c.digit = c.radix[:0], digit
}

// String names the state among those of its crash point.
func (c *chooser) String() string {
	var b strings.Builder
	for i, d := range c.digit[:len(c.radix)] {
		if i > 0 {
			b.WriteByte(' ')
		}
		for u, at := range c.units {
			if at == i {
				b.WriteString(kindNames[u.kind] + ":" + u.name)
				if u.kind == memfs.Sector {
					b.WriteString("@" + strconv.FormatInt(u.off, 10))
				}
			}
		}
		b.WriteString("=" + strconv.Itoa(d) + "/" + strconv.Itoa(c.radix[i]))
	}
	return b.String()
}

var kindNames = [...]string{memfs.Entry: "name", memfs.Journal: "journal", memfs.Length: "length", memfs.Allocation: "alloc", memfs.Sector: "bytes"}

// budget says how many states one crash point is given.
type budget struct {
	product int // up to so many states are gone through one by one
	samples int // of more than that, so many by chance
}

// states calls yield with states that a power cut may leave of m, until it
// returns false. The description of a state is only good during the call.
// clean says that sectors in flight do not turn to garbage.
func states(m *memfs.FS, journal, clean bool, size int, b budget, rng *rand.Rand, yield func(s *memfs.FS, how func() string) bool) {
	c := &chooser{size: int64(size), clean: clean, units: map[unit]int{}, entries: map[string]int64{}, salt: rng.Uint64()}
	one := func() bool {
		s := m.CrashClone(memfs.Crash{Decide: c.decide, Journal: journal})
		return yield(s, c.String)
	}
	c.pick = func(u unit, radix int) int { return c.newest(u, radix) }
	if !one() {
		return
	}
	product, units := 1, len(c.radix)
	for _, r := range c.radix {
		if product *= r; product > b.product {
			break
		}
	}
	if product <= b.product {
		every(c, one)
		return
	}
	c.reset(nil)
	c.pick = func(unit, int) int { return 0 }
	if !one() {
		return
	}
	for i := range b.samples {
		if i%2 == 1 { // sector by sector, the assumption behind units put to the test
			odds := memfs.Odds{Entry: rng.Float64(), Journal: rng.Float64(), Length: rng.Float64(), Sector: rng.Float64()}
			s := m.CrashClone(memfs.Crash{Decide: legal(memfs.Random(rng, odds)), Journal: journal})
			if !yield(s, func() string { return "sectors, sample " + strconv.Itoa(i) }) {
				return
			}
			continue
		}
		keep, odd := rng.Float64(), rng.IntN(max(units, 1))
		if i%4 == 0 {
			keep = float64(rng.IntN(2)) // all but one, or none but one
		}
		c.reset(nil)
		c.salt = rng.Uint64()
		c.pick = func(u unit, radix int) int {
			if i%4 == 0 && len(c.digit) == odd || rng.IntN(8) == 0 {
				return rng.IntN(radix)
			}
			if rng.Float64() < keep {
				return c.newest(u, radix)
			}
			return 0
		}
		if !one() {
			return
		}
	}
}

// legal keeps the lock file, which nothing depends on, and allocations out of
// the sampling.
func legal(decide func(memfs.Choice) int) func(memfs.Choice) int {
	return func(q memfs.Choice) int {
		if q.Kind == memfs.Allocation || strings.HasSuffix(q.Name, "/lock") {
			return 0
		}
		return decide(q)
	}
}

// newest is the digit of the latest version.
func (c *chooser) newest(u unit, radix int) int {
	if u.kind != memfs.Sector {
		return radix - 1
	}
	return radix - 1 - c.extra(u.name)
}

// every counts through all digits, the last question first: which questions
// are asked depends on the answers before.
func every(c *chooser, one func() bool) {
	c.pick = func(unit, int) int { return 0 }
	c.reset(nil)
	for one() {
		last := len(c.radix) - 1
		for last >= 0 && c.digit[last] == c.radix[last]-1 {
			last--
		}
		if last < 0 {
			return
		}
		digit := c.digit[:last+1]
		digit[last]++
		c.reset(digit)
	}
}
