package shmread

import (
	"errors"
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type vector struct {
	Name      string
	AsOf      [2]int64 `json:"as_of"`
	VoidAfter [2]int64 `json:"void_after"`
	Bound     int64    `json:"bound_nsec"`
	Drift     uint32   `json:"max_drift_ppb"`
	Status    Status   `json:"clock_status"`
	Real      [2]int64
	Mono      [2]int64
	Earliest  [2]int64
	Latest    [2]int64
	Aged      Status `json:"status"`
	Error     string
}

func boundAt(c *ClockErrorBound, real time.Time, mono int64) (b Bound, err error) {
	half, status, err := c.at(mono)
	b.around(real, half)
	b.Status = status
	return b, err
}

func TestVectors(t *testing.T) {
	var file struct{ Vectors []vector }
	readJSON(t, fixture(t, "vectors/now_v2.json"), &file)
	if len(file.Vectors) < 50 {
		t.Fatalf("only %d vectors", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			c := ClockErrorBound{
				AsOf: Timespec{v.AsOf[0], v.AsOf[1]}, VoidAfter: Timespec{v.VoidAfter[0], v.VoidAfter[1]},
				BoundNsec: v.Bound, MaxDriftPPB: v.Drift, Status: v.Status,
			}
			err := c.check()
			var got Bound
			if err == nil {
				got, err = boundAt(&c, time.Unix(v.Real[0], v.Real[1]), v.Mono[0]*second+v.Mono[1])
			}
			var want error
			switch {
			case v.Error == "CausalityBreach",
				v.AsOf[0] > maxSeconds: // the original's nanoseconds overflow
				want = ErrCausalityBreach
			case v.Error == "SegmentMalformed", v.Bound < 0, v.AsOf[1] >= second:
				want = ErrMalformed
			}
			if want != nil {
				if !errors.Is(err, want) {
					t.Fatalf("error %v, want %v", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Status != v.Aged {
				t.Errorf("status %s, want %s", got.Status, v.Aged)
			}
			early := time.Unix(v.Earliest[0], v.Earliest[1]).Sub(got.Earliest)
			late := got.Latest.Sub(time.Unix(v.Latest[0], v.Latest[1]))
			if early < 0 || early > 1 || late != early {
				t.Errorf("wider by %d and %d ns, want 0 or 1 on both sides", early, late)
			}
		})
	}
}

// The bound holds: it is the exact bound_nsec + age*drift, rounded up.
func TestBoundIsExactRoundedUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := ClockErrorBound{
			AsOf:        Timespec{rapid.Int64Range(-maxSeconds, maxSeconds).Draw(t, "sec"), rapid.Int64Range(0, second-1).Draw(t, "nsec")},
			VoidAfter:   Timespec{rapid.Int64().Draw(t, "void"), 0},
			BoundNsec:   rapid.Int64Range(0, math.MaxInt64).Draw(t, "bound"),
			MaxDriftPPB: rapid.Uint32Range(0, second-1).Draw(t, "drift"),
			Status:      Status(rapid.Int32Range(0, 3).Draw(t, "status")),
		}
		asOf, _ := c.AsOf.nanoseconds()
		mono := asOf + rapid.Int64Range(0, maxSeconds*second).Draw(t, "age")
		real := time.Unix(1700000000, 123456789)

		exact := new(big.Int).Mul(big.NewInt(mono-asOf), big.NewInt(int64(c.MaxDriftPPB)))
		exact.Add(exact, big.NewInt(second-1)).Div(exact, big.NewInt(second)).Add(exact, big.NewInt(c.BoundNsec))

		b, err := boundAt(&c, real, mono)
		if !exact.IsInt64() {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("half width %s: error %v, want ErrMalformed", exact, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		half := time.Duration(exact.Int64())
		if !b.Earliest.Equal(real.Add(-half)) || !b.Latest.Equal(real.Add(half)) {
			t.Fatalf("[%v, %v], want %v -/+ %d ns", b.Earliest, b.Latest, real, half)
		}
	})
}

func TestBoundOrder(t *testing.T) {
	at := func(earliest, latest int64, s Status) Bound {
		return Bound{time.Unix(earliest, 0), time.Unix(latest, 0), s}
	}
	moment := time.Unix(100, 0)
	for _, test := range []struct {
		name          string
		b             Bound
		after, before bool
	}{
		{"past", at(10, 99, Synchronized), false, true},
		{"touching below", at(10, 100, Synchronized), false, false},
		{"around", at(99, 101, FreeRunning), false, false},
		{"touching above", at(100, 110, Synchronized), false, false},
		{"future", at(101, 110, FreeRunning), true, false},
		{"future, unknown", at(101, 110, Unknown), false, false},
		{"past, disrupted", at(10, 99, Disrupted), false, false},
	} {
		if a, b := test.b.After(moment), test.b.Before(moment); a != test.after || b != test.before {
			t.Errorf("%s: after %v, before %v", test.name, a, b)
		}
	}
	first, second := at(1, 2, Synchronized), at(3, 4, Synchronized)
	if !first.Precedes(second) || second.Precedes(first) || first.Precedes(at(2, 3, Synchronized)) || first.Precedes(at(3, 4, Unknown)) {
		t.Error("Precedes is wrong")
	}
}
