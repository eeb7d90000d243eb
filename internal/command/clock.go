package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"loomstore/shmread"
)

// clockOptions are the flags of loomctl clock.
type clockOptions struct {
	json    bool
	vmclock string
	watch   bool
	every   time.Duration
}

func newClock(s *streams) *cobra.Command {
	var o clockOptions
	c := &cobra.Command{
		Use:   "clock [PATH]",
		Short: "decode or watch a ClockBound segment",
		Long: `Decode the ClockBound segment at PATH, by default the first that exists of
` + shmread.DefaultPath + ` and ` + shmread.DefaultPathV1 + `. Nothing is ever written.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			if o.every <= 0 {
				return &exitError{code: ExitUsage, err: errors.New("--every must be positive")}
			}
			if o.watch {
				return watchClock(c.Context(), s.out, path, o)
			}
			return decodeClock(s.out, path, o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON document; with --watch one a line")
	c.Flags().StringVar(&o.vmclock, "vmclock", "", "compare with the VMClock page in `FILE`")
	c.Flags().BoolVar(&o.watch, "watch", false, "show the bound around the present time until interrupted")
	c.Flags().DurationVar(&o.every, "every", time.Second, "how often --watch looks")
	return c
}

// clockTime is a reading of the monotonic clock.
type clockTime struct {
	Sec  int64 `json:"sec"`
	Nsec int64 `json:"nsec"`
}

// clockReport is the document of docs/cli-json.md, clock.
type clockReport struct {
	Schema            int            `json:"schema"`
	Version           uint16         `json:"version"`
	Generation        uint16         `json:"generation"`
	SegSize           uint32         `json:"segsize"`
	AsOf              clockTime      `json:"as_of"`
	VoidAfter         clockTime      `json:"void_after"`
	BoundNsec         int64          `json:"bound_nsec"`
	DisruptionMarker  uint64         `json:"disruption_marker"`
	MaxDriftPPB       uint32         `json:"max_drift_ppb"`
	Status            string         `json:"status"`
	DisruptionSupport bool           `json:"disruption_support"`
	VMClock           *vmclockReport `json:"vmclock,omitempty"`
	StatusCombined    string         `json:"status_combined,omitempty"`

	record shmread.ClockErrorBound
}

// codeOK is the code of a VMClock page that could be read.
const codeOK = "ok"

type vmclockReport struct {
	Seq     uint32 `json:"seq"`
	Marker  uint64 `json:"marker"`
	Size    uint32 `json:"size"`
	Version uint16 `json:"version"`
	Code    string `json:"code"`
}

type clockError struct {
	Schema int    `json:"schema"`
	Code   string `json:"code"`
	Error  string `json:"error"`
}

func decodeClock(out io.Writer, path string, o clockOptions) error {
	report, err := readClock(path)
	if err != nil {
		return refuseClock(out, err, o.json)
	}
	if o.vmclock != "" {
		err = report.compare(o.vmclock)
	}
	if printErr := report.print(out, o.json); printErr != nil {
		return printErr
	}
	if err != nil {
		return &exitError{code: clockExit(err), err: err}
	}
	return nil
}

func (r *clockReport) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"version", r.Version},
		{"generation", r.Generation},
		{"segment size", r.SegSize},
		{"as of", r.AsOf},
		{"void after", r.VoidAfter},
		{"bound", time.Duration(r.BoundNsec)},
		{"maximum drift", fmt.Sprintf("%d ppb", r.MaxDriftPPB)},
		{"status", r.Status},
		{"disruption support", r.DisruptionSupport},
		{"disruption marker", r.DisruptionMarker},
	} {
		if _, err := fmt.Fprintf(out, "%-20s%v\n", line.name, line.value); err != nil {
			return err
		}
	}
	if r.VMClock == nil {
		return nil
	}
	_, err := fmt.Fprintf(out, "%-20s%s\n%-20s%s\n", "vmclock", r.VMClock, "combined status", r.StatusCombined)
	return err
}

func (v *vmclockReport) String() string {
	if v.Code != codeOK {
		return v.Code
	}
	return fmt.Sprintf("sequence %d, marker %d, size %d, version %d", v.Seq, v.Marker, v.Size, v.Version)
}

func (t clockTime) String() string { return fmt.Sprintf("%d.%09d s after boot", t.Sec, t.Nsec) }

func readClock(path string) (*clockReport, error) {
	seg, err := shmread.Inspect(path, nil)
	if err != nil {
		return nil, err
	}
	return &clockReport{
		Schema:            schema,
		Version:           seg.Version,
		Generation:        seg.Generation,
		SegSize:           seg.Size,
		AsOf:              clockTime(seg.AsOf),
		VoidAfter:         clockTime(seg.VoidAfter),
		BoundNsec:         seg.BoundNsec,
		DisruptionMarker:  seg.DisruptionMarker,
		MaxDriftPPB:       seg.MaxDriftPPB,
		Status:            seg.Status.String(),
		DisruptionSupport: seg.DisruptionSupport,
		record:            seg.ClockErrorBound,
	}, nil
}

// compare adds the VMClock page. A page that can not be read leaves nothing to
// trust where the segment asks for it.
func (r *clockReport) compare(vmclock string) error {
	v, err := shmread.InspectVMClock(vmclock)
	if err == nil {
		r.VMClock = &vmclockReport{Seq: v.Seq, Marker: v.Marker, Size: v.Size, Version: v.Version, Code: codeOK}
		r.StatusCombined = r.record.StatusWith(v).String()
		return nil
	}
	r.VMClock = &vmclockReport{Code: clockCode(err)}
	r.StatusCombined = r.Status
	if r.DisruptionSupport {
		r.StatusCombined = shmread.Unknown.String()
	}
	return err
}

// refuseClock gives err its exit code, and its code in JSON.
func refuseClock(out io.Writer, err error, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(out).Encode(clockError{Schema: schema, Code: clockCode(err), Error: err.Error()}); err != nil {
			return err
		}
	}
	return &exitError{code: clockExit(err), err: err, hint: clockHint(err)}
}

// clockHint says what to do about a segment that can not be read.
func clockHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "ClockBound's daemon makes this file when it starts; loomctl clock PATH reads another one"
	case errors.Is(err, shmread.ErrNotInitialized):
		return "the daemon has not written to this file yet, or it is not a ClockBound segment"
	case errors.Is(err, shmread.ErrVersionNotSupported):
		return "segments of ClockBound 1 and 2 are read (versions 1 and 2)"
	}
	return ""
}

func clockExit(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return ExitNotStore
	}
	return ExitMismatch
}

func clockCode(err error) string {
	for _, class := range []struct {
		is   error
		code string
	}{
		{fs.ErrNotExist, "not_exist"},
		{errors.ErrUnsupported, "unsupported"},
		{shmread.ErrNotInitialized, "not_initialized"},
		{shmread.ErrMalformed, "malformed"},
		{shmread.ErrVersionNotSupported, "version_not_supported"},
		{shmread.ErrCausalityBreach, "causality_breach"},
		{shmread.ErrSyscall, "syscall"},
	} {
		if errors.Is(err, class.is) {
			return class.code
		}
	}
	return "failed"
}
