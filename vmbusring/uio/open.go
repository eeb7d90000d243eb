package uio

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"loomstore/internal/mapping"
	"loomstore/vmbusring"
	"loomstore/vmbusring/signal"
)

// Conn is an open device.
type Conn struct {
	// Primary is the channel that every device has.
	Primary *vmbusring.Channel

	device  *Device
	options *vmbusring.Options
	events  *events
	monitor *mapping.View // nil until a channel has a monitor id
	hw      *hardware

	mu          sync.Mutex
	subchannels []*vmbusring.Channel
}

// hardware is what an open UIO device can do, so that tests can have one.
type hardware struct {
	event signal.Event
	// mapArea maps area index of the device; mapFile a whole file of sysfs.
	mapArea func(index, size int) (*mapping.View, error)
	mapFile func(path string) (*mapping.View, error)
}

// Open opens the device and maps its rings. Options.Release must not be set:
// the memory is the device's. Linux only.
func (d *Device) Open(o *vmbusring.Options) (*Conn, error) {
	hw, err := openHardware(d.Path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.Path, err)
	}
	c, err := d.open(hw, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.Path, err)
	}
	return c, nil
}

// open owns hw.event, also when it fails.
func (d *Device) open(hw *hardware, o *vmbusring.Options) (*Conn, error) {
	if o == nil {
		o = &vmbusring.Options{}
	}
	c := &Conn{device: d, options: o, hw: hw}
	// A file outside the runtime's poller can not be waited for with a
	// context, and Close would hang.
	if err := hw.event.SetReadDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, hw.event.Close())
	}
	device := signal.NewUIO(hw.event)
	c.events = newEvents(device, c.unmapMonitor)
	rings, err := hw.mapArea(0, d.Rings.Size())
	if err != nil {
		return nil, errors.Join(err, c.events.close())
	}
	c.Primary, err = c.channel(rings, d.Rings, d.Monitor, device.Notify)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// channel returns the channel with its rings in that memory, which it unmaps.
func (c *Conn) channel(rings *mapping.View, l Layout, monitor *uint32, notify func() error) (*vmbusring.Channel, error) {
	line, err := c.events.line(notify)
	if err != nil {
		return nil, errors.Join(err, rings.Close())
	}
	fail := func(err error) error { return errors.Join(err, rings.Close(), line.Close()) }
	var sig vmbusring.Signal = line
	if monitor != nil {
		if err := c.mapMonitor(); err != nil {
			return nil, fail(err)
		}
		// With a monitor id, writing to the device does not signal.
		if sig, err = signal.NewMonitor(c.monitor.Bytes(), *monitor, line); err != nil {
			return nil, fail(err)
		}
	}
	out, err := vmbusring.Over(rings.Bytes()[:l.InOffset()], l.Control)
	if err != nil {
		return nil, fail(err)
	}
	in, err := vmbusring.Over(rings.Bytes()[l.InOffset():l.Size()], l.Control)
	if err != nil {
		return nil, fail(err)
	}
	channel, err := vmbusring.NewChannel(in, out, sig, &vmbusring.Options{MaxPacket: c.options.MaxPacket, Release: rings.Close})
	if err != nil {
		return nil, fail(err)
	}
	return channel, nil
}

// Subchannels returns the further channels that the device has now, by relid.
// The host offers them when it is asked to, through the primary channel, and
// the kernel opens them some time after that.
func (c *Conn) Subchannels() ([]Subchannel, error) {
	subchannels, err := readSubchannels(c.device.channels)
	if err != nil {
		return nil, fmt.Errorf("subchannels of %s: %w", c.device.Instance, err)
	}
	return subchannels, nil
}

// OpenSubchannel opens a further channel. Older kernels signal only the
// primary one by interrupt, and nothing tells them from others, so a
// subchannel without a monitor id is refused.
func (c *Conn) OpenSubchannel(relid uint32) (*vmbusring.Channel, error) {
	subchannels, err := c.Subchannels()
	if failure := c.Primary.Err(); failure != nil {
		err = failure // and its folder may be gone
	}
	if err != nil {
		return nil, fmt.Errorf("open subchannel %d: %w", relid, err)
	}
	for _, s := range subchannels {
		if s.RelID == relid {
			channel, err := c.openSubchannel(s)
			if err != nil {
				return nil, fmt.Errorf("open subchannel %d: %w", relid, err)
			}
			return channel, nil
		}
	}
	return nil, fmt.Errorf("open subchannel %d: %w", relid, ErrNoDevice)
}

func (c *Conn) openSubchannel(s Subchannel) (*vmbusring.Channel, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Monitor == nil {
		return nil, ErrNoSignal
	}
	if err := c.Primary.Err(); err != nil {
		return nil, err
	}
	rings, err := c.hw.mapFile(s.Path)
	if err != nil {
		return nil, err
	}
	l, err := layout(uint64(rings.Len()), c.device.Rings.Control)
	if err != nil {
		return nil, errors.Join(err, rings.Close())
	}
	channel, err := c.channel(rings, l, s.Monitor, nil)
	if err == nil {
		c.subchannels = append(c.subchannels, channel)
	}
	return channel, err
}

// Close closes all channels of the device, and with the last one the device.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range c.subchannels {
		errs = append(errs, s.Close())
	}
	c.subchannels = nil
	return errors.Join(append(errs, c.Primary.Close())...)
}

// mapMonitor maps the page of all channels with a monitor id, once. The caller
// has a line, so that nobody is unmapping it.
func (c *Conn) mapMonitor() error {
	if c.monitor != nil {
		return nil
	}
	for i, m := range c.device.Maps {
		if m.Name != monitorMap {
			continue
		}
		var err error
		c.monitor, err = c.hw.mapArea(i, os.Getpagesize())
		return err
	}
	return fmt.Errorf("no map %q: %w", monitorMap, ErrNoSignal)
}

func (c *Conn) unmapMonitor() error {
	if c.monitor == nil {
		return nil
	}
	return c.monitor.Close()
}
