package uio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"loomstore/vmbusring"
)

// Errors that callers test with errors.Is.
var (
	ErrNoDevice = errors.New("uio: no uio device")              // no such instance, or not bound to uio_hv_generic
	ErrDriver   = errors.New("uio: not a vmbus uio device")     // bound to another driver
	ErrNoRing   = errors.New("uio: no ring map")                // the rings are not offered
	ErrRingSize = errors.New("uio: bad ring size")              // no two rings of whole pages
	ErrNoSignal = errors.New("uio: no way to signal a channel") // a subchannel without a monitor
)

// The names that uio_hv_generic gives itself and its maps.
const (
	driverName  = "uio_hv_generic"
	ringMap     = "txrx_rings"
	monitorMap  = "monitor_page"
	recvPrefix  = "recv:"
	sendPrefix  = "send:"
	mostEntries = 4096 // of a folder in sysfs that is looked at
)

// Device is what sysfs says about a device.
type Device struct {
	Instance    string // its id, a GUID without braces
	ClassID     string
	Path        string // of the device file
	Maps        []Map  // by index
	Rings       Layout
	Monitor     *uint32      // monitor id of the primary channel; nil: signalled by interrupt
	Subchannels []Subchannel // by relid; those that were there already
	RecvGPADL   *uint32      // buffers of network devices
	SendGPADL   *uint32

	channels string // folder of sysfs
}

// Map is one area that a UIO device can map, at its index times the page size.
type Map struct {
	Name string
	Size uint64
}

// Layout says where two rings of equal size lie in an area: control page and
// data of the outgoing ring, then of the incoming one. All in bytes.
type Layout struct {
	Control int // length of a control page: a page of the system
	Data    int // of each ring
}

// Size returns the length of the whole area.
func (l Layout) Size() int { return 2 * l.InOffset() }

// InOffset returns where the incoming ring begins.
func (l Layout) InOffset() int { return l.Control + l.Data }

// Subchannel is a further channel of a device.
type Subchannel struct {
	RelID   uint32
	Path    string // of the file to map its rings from
	Monitor *uint32
}

// Tree is where to look.
type Tree struct {
	Root     string // stands in for "/", for tests; empty means "/"
	PageSize int    // of the system; 0 means this one's
}

// Find reads what sysfs has about the device with that instance id, of the
// form ed963694-e847-4b2a-85af-bc9cfc11d6f3.
func (t Tree) Find(instance string) (*Device, error) {
	if !isGUID(instance) {
		return nil, fmt.Errorf("find %q: no instance id: %w", instance, ErrNoDevice)
	}
	if t.Root == "" {
		t.Root = "/"
	}
	if t.PageSize == 0 {
		t.PageSize = os.Getpagesize()
	}
	d := &Device{Instance: instance}
	if err := t.read(d); err != nil {
		return nil, fmt.Errorf("find vmbus device %s: %w", instance, err)
	}
	return d, nil
}

func (t Tree) read(d *Device) error {
	base := filepath.Join(t.Root, "sys/bus/vmbus/devices", d.Instance)
	name, err := uioName(filepath.Join(base, "uio"))
	if err != nil {
		return err
	}
	d.Path = filepath.Join(t.Root, "dev", name)
	dir := filepath.Join(base, "uio", name)
	driver, err := attribute(dir, "name")
	if err != nil {
		return err
	}
	if driver != driverName {
		return fmt.Errorf("%s is driven by %q, expected %q: %w", name, driver, driverName, ErrDriver)
	}
	class, err := attribute(base, "class_id")
	if err != nil {
		return err
	}
	d.ClassID = strings.Trim(class, "{}")
	if err := d.readMaps(filepath.Join(dir, "maps")); err != nil {
		return err
	}
	if d.Rings, err = layout(d.Maps[0].Size, t.PageSize); err != nil {
		return err
	}
	if d.Monitor, err = number(base, "monitor_id"); err != nil {
		return err
	}
	d.channels = filepath.Join(base, "channels")
	d.Subchannels, err = readSubchannels(d.channels)
	return err
}

// uioName returns the name of the device file. While a driver goes away the
// folder is there and empty.
func uioName(dir string) (string, error) {
	names, err := list(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, name := range names {
		if n, ok := strings.CutPrefix(name, "uio"); ok && isNumber(n) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s has no uioN: %w", dir, ErrNoDevice)
}

func (d *Device) readMaps(dir string) error {
	for i := 0; ; i++ {
		at := filepath.Join(dir, "map"+strconv.Itoa(i))
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) || i == mostEntries {
			break
		}
		name, err := attribute(at, "name")
		if err != nil {
			return err
		}
		text, err := attribute(at, "size")
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			return fmt.Errorf("size of map %d: %w", i, err)
		}
		d.Maps = append(d.Maps, Map{Name: name, Size: size})
		for prefix, gpadl := range map[string]**uint32{recvPrefix: &d.RecvGPADL, sendPrefix: &d.SendGPADL} {
			if text, ok := strings.CutPrefix(name, prefix); ok {
				n, err := strconv.ParseUint(text, 10, 32)
				if err != nil {
					return fmt.Errorf("name of map %d: %w", i, err)
				}
				id := uint32(n)
				*gpadl = &id
			}
		}
	}
	if len(d.Maps) == 0 || d.Maps[0].Name != ringMap {
		return fmt.Errorf("map 0 is not %q: %w", ringMap, ErrNoRing)
	}
	return nil
}

// layout derives the rings from the length of their area: sizes are not fixed,
// they differ between devices and kernels.
func layout(size uint64, page int) (Layout, error) {
	half := size / 2
	if size%2 != 0 || half%uint64(page) != 0 || half <= uint64(page) || half-uint64(page) >= 1<<32 {
		return Layout{}, fmt.Errorf("area of %#x bytes for two rings with control pages of %#x: %w", size, page, ErrRingSize)
	}
	l := Layout{Control: page, Data: int(half) - page}
	if l.Data%vmbusring.PageSize != 0 {
		return Layout{}, fmt.Errorf("rings of %#x bytes: %w", l.Data, ErrRingSize)
	}
	return l, nil
}

func readSubchannels(dir string) ([]Subchannel, error) {
	names, err := list(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var subchannels []Subchannel
	for _, name := range names {
		relid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue // not a channel
		}
		at := filepath.Join(dir, name)
		id, err := number(at, "subchannel_id")
		if err != nil {
			return nil, err
		}
		if id == nil || *id == 0 {
			continue // the primary channel
		}
		s := Subchannel{RelID: uint32(relid), Path: filepath.Join(at, "ring")}
		if s.Monitor, err = number(at, "monitor_id"); err != nil {
			return nil, err
		}
		subchannels = append(subchannels, s)
	}
	slices.SortFunc(subchannels, func(a, b Subchannel) int { return int(int64(a.RelID) - int64(b.RelID)) })
	return subchannels, nil
}

// number reads an attribute that need not be there.
func number(dir, name string) (*uint32, error) {
	text, err := attribute(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	id := uint32(n)
	return &id, nil
}

func attribute(dir, name string) (string, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096)) // sysfs gives at most a page
	return strings.TrimSpace(string(b)), err
}

func list(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(mostEntries)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	slices.Sort(names)
	return names, err
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// isGUID keeps instance ids from being paths.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}
