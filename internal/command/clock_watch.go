package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"loomstore/shmread"
)

// clockSight is what --watch shows at one moment.
type clockSight struct {
	Schema   int    `json:"schema"`
	Earliest string `json:"earliest"`
	Latest   string `json:"latest"`
	WidthNs  int64  `json:"width_nsec"`
	AgeNs    int64  `json:"age_nsec"`
	Status   string `json:"status"`
}

// watchClock prints one line a look until ctx ends, which is how it is meant
// to end. A segment that is not there, or not usable, is waited for.
func watchClock(ctx context.Context, out io.Writer, path string, o clockOptions) error {
	r, err := shmread.Open(path, &shmread.Options{Lazy: true, VMClock: o.vmclock})
	if err != nil {
		return refuseClock(out, err, o.json)
	}
	defer r.Close()
	ticker := time.NewTicker(o.every)
	defer ticker.Stop()
	var last shmread.ClockErrorBound
	for {
		if err := printSight(out, r, &last, o.json); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func printSight(out io.Writer, r *shmread.Reader, last *shmread.ClockErrorBound, asJSON bool) error {
	sight, err := lookAtClock(r, last)
	switch {
	case err != nil && asJSON:
		return json.NewEncoder(out).Encode(clockError{Schema: schema, Code: clockCode(err), Error: err.Error()})
	case err != nil:
		_, err = fmt.Fprintf(out, "%s: %v\n", clockCode(err), err)
		return err
	case asJSON:
		return json.NewEncoder(out).Encode(sight)
	}
	_, err = fmt.Fprintf(out, "%s .. %s  width %v  age %v  %s\n", sight.Earliest, sight.Latest,
		time.Duration(sight.WidthNs), time.Duration(sight.AgeNs), sight.Status)
	return err
}

// lookAtClock reads the bound, and the record into last for its age. While a
// writer is inside an update the bound is that of the last record, and so is
// the age.
func lookAtClock(r *shmread.Reader, last *shmread.ClockErrorBound) (clockSight, error) {
	b, err := r.Now()
	if err != nil {
		return clockSight{}, err
	}
	if err := r.Snapshot(last); err != nil && (last.Version == 0 || !errors.Is(err, shmread.ErrNotInitialized)) {
		return clockSight{}, err
	}
	now, err := shmread.CoarseNow()
	if err != nil {
		return clockSight{}, err
	}
	age := time.Duration(now.Sec-last.AsOf.Sec)*time.Second + time.Duration(now.Nsec-last.AsOf.Nsec)
	return clockSight{
		Schema:   schema,
		Earliest: b.Earliest.UTC().Format(time.RFC3339Nano),
		Latest:   b.Latest.UTC().Format(time.RFC3339Nano),
		WidthNs:  b.Width().Nanoseconds(),
		AgeNs:    max(age, 0).Nanoseconds(),
		Status:   b.Status.String(),
	}, nil
}
