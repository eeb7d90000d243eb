//go:build !linux

package fault

import (
	"errors"
	"os"

	"loomstore/internal/mapping"
)

// query is a state that pages can be in; no system but Linux can be asked.
type query struct{}

var isPrivate query

type scanner struct{}

func newScanner(*os.File, *mapping.Region) (*scanner, error) { return nil, errors.ErrUnsupported }

func (s *scanner) close() {}

func (s *scanner) scan(query, int, int, func(lo, hi int, is uint64)) error {
	return errors.ErrUnsupported
}
