//go:build linux

package uio

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"loomstore/internal/mapping"
	"loomstore/vmbusring"
	"loomstore/vmbusring/signal"
)

// fakeDevice is a device and its host: the rings are files, events travel
// through a socket that keeps the four bytes of each together.
type fakeDevice struct {
	device *Device
	hw     *hardware
	host   *os.File // the host's end of the events
	dir    string
}

func newFakeDevice(t *testing.T) *fakeDevice {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	f := &fakeDevice{
		host: os.NewFile(uintptr(fds[1]), "host"),
		dir:  t.TempDir(),
		device: &Device{
			Rings: Layout{Control: page, Data: 65536},
			Maps:  []Map{{Name: ringMap, Size: uint64(2 * (page + 65536))}, {Name: "int_page"}, {Name: monitorMap}},
		},
	}
	t.Cleanup(func() { f.host.Close() })
	f.hw = &hardware{
		event:   os.NewFile(uintptr(fds[0]), "uio"),
		mapArea: func(index, size int) (*mapping.View, error) { return f.mapFile(t, strconv.Itoa(index), size) },
		mapFile: mapFile,
	}
	return f
}

func (f *fakeDevice) mapFile(t *testing.T, name string, size int) (*mapping.View, error) {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return mapFile(path)
}

// hostChannel is the host's end of the rings in that file.
func (f *fakeDevice) hostChannel(t *testing.T, path string, sig vmbusring.Signal) *vmbusring.Channel {
	t.Helper()
	view, err := mapFile(path)
	if err != nil {
		t.Fatal(err)
	}
	half := view.Len() / 2
	in, err := vmbusring.Over(view.Bytes()[:half], os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	out, err := vmbusring.Over(view.Bytes()[half:], os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	c, err := vmbusring.NewChannel(in, out, sig, &vmbusring.Options{Release: view.Close})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo answers n packets with their own payload.
func echo(t *testing.T, c *vmbusring.Channel, n int) {
	ps := make([]vmbusring.Packet, 1)
	for range n {
		if _, err := c.Receive(context.Background(), ps); err != nil {
			t.Error("host:", err)
			return
		}
		if _, err := c.Send(context.Background(), &ps[0]); err != nil {
			t.Error("host:", err)
			return
		}
	}
}

func ask(t *testing.T, c *vmbusring.Channel, n int) {
	t.Helper()
	ps := make([]vmbusring.Packet, 1)
	for i := range n {
		p := vmbusring.Packet{Type: vmbusring.InBand, Payload: bytes.Repeat([]byte{byte(i)}, 8*(i%500))}
		if _, err := c.Send(t.Context(), &p); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(t.Context(), ps); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ps[0].Payload, p.Payload) {
			t.Fatalf("packet %d came back changed", i)
		}
	}
}

// TestOpenAndEcho sends packets to a host and back, with interrupts only.
func TestOpenAndEcho(t *testing.T) {
	f := newFakeDevice(t)
	c, err := f.device.open(f.hw, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := f.hostChannel(t, filepath.Join(f.dir, "0"), signal.NewUIO(f.host)) // the same four bytes
	go echo(t, host, 500)
	ask(t, c.Primary, 500)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestMonitorAndSubchannel: signals of monitored channels are bits in a page,
// and interrupts wake the channels of a device together.
func TestMonitorAndSubchannel(t *testing.T) {
	f := newFakeDevice(t)
	page := os.Getpagesize()
	root := t.TempDir()
	base := writeSysfs(t, root, map[string]string{
		"class_id":                "{f8615163-df3e-46c5-913f-f2d2f965ed0e}",
		"monitor_id":              "5",
		"uio/uio0/name":           driverName,
		"uio/uio0/maps/map0/name": ringMap, "uio/uio0/maps/map0/size": strconv.Itoa(2 * (page + 65536)),
		"uio/uio0/maps/map1/name": "int_page", "uio/uio0/maps/map1/size": strconv.Itoa(page),
		"uio/uio0/maps/map2/name": monitorMap, "uio/uio0/maps/map2/size": strconv.Itoa(page),
		"channels/21/subchannel_id": "0",
	})
	device, err := Tree{Root: root}.Find(filepath.Base(base))
	if err != nil {
		t.Fatal(err)
	}
	c, err := device.open(f.hw, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The host offers subchannels when it is asked to, through the primary
	// channel: they come after Find.
	if _, err := c.OpenSubchannel(22); !errors.Is(err, ErrNoDevice) {
		t.Errorf("subchannel that was not offered yet: %v", err)
	}
	path := filepath.Join(base, "channels/22/ring")
	writeSysfs(t, root, map[string]string{
		"channels/22/subchannel_id": "1", "channels/22/monitor_id": "70",
		"channels/22/ring":          string(make([]byte, 2*(page+8192))),
		"channels/23/subchannel_id": "2",
	})
	channel, err := c.OpenSubchannel(22)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.OpenSubchannel(23); !errors.Is(err, ErrNoSignal) {
		t.Errorf("subchannel without a monitor: %v", err)
	}
	if _, err := c.OpenSubchannel(24); !errors.Is(err, ErrNoDevice) {
		t.Errorf("unknown subchannel: %v", err)
	}
	monitor, err := f.mapFile(t, "2", page)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { monitor.Close() }) // after the host has stopped looking
	hostPrimary := f.hostChannel(t, filepath.Join(f.dir, "0"), &monitorHost{page: monitor, word: 8, bit: 1 << 5, event: f.host})
	hostSub := f.hostChannel(t, path, &monitorHost{page: monitor, word: 8 + 8*2, bit: 1 << 6, event: f.host})
	go echo(t, hostSub, 200)
	ask(t, channel, 200)
	go echo(t, hostPrimary, 200)
	ask(t, c.Primary, 200)

	if err := channel.Close(); err != nil {
		t.Fatal(err)
	}
	go echo(t, hostPrimary, 10)
	ask(t, c.Primary, 10) // does not need the subchannel
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(base); err != nil { // as the kernel does when it is revoked
		t.Fatal(err)
	}
	if _, err := c.OpenSubchannel(22); !errors.Is(err, vmbusring.ErrClosed) {
		t.Errorf("subchannel of a closed device: %v", err)
	}
}

// writeSysfs writes attributes of a device and returns its folder.
func writeSysfs(t *testing.T, root string, attributes map[string]string) string {
	t.Helper()
	base := filepath.Join(root, "sys/bus/vmbus/devices/ed963694-e847-4b2a-85af-bc9cfc11d6f3")
	for name, text := range attributes {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return base
}

// TestMonitorOfSubchannelOnly: the monitor page is mapped when a channel needs
// it, which may be after the device was opened.
func TestMonitorOfSubchannelOnly(t *testing.T) {
	f := newFakeDevice(t)
	page := os.Getpagesize()
	root := t.TempDir()
	base := writeSysfs(t, root, map[string]string{
		"class_id":                "{f8615163-df3e-46c5-913f-f2d2f965ed0e}",
		"uio/uio0/name":           driverName,
		"uio/uio0/maps/map0/name": ringMap, "uio/uio0/maps/map0/size": strconv.Itoa(2 * (page + 65536)),
		"uio/uio0/maps/map1/name": monitorMap, "uio/uio0/maps/map1/size": strconv.Itoa(page),
	})
	device, err := Tree{Root: root}.Find(filepath.Base(base))
	if err != nil {
		t.Fatal(err)
	}
	c, err := device.open(f.hw, nil)
	if err != nil {
		t.Fatal(err)
	}
	writeSysfs(t, root, map[string]string{
		"channels/22/subchannel_id": "1", "channels/22/monitor_id": "33",
		"channels/22/ring": string(make([]byte, 2*(page+8192))),
	})
	channel, err := c.OpenSubchannel(22)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := channel.Send(t.Context(), &vmbusring.Packet{Type: vmbusring.InBand}); err != nil {
		t.Error(err)
	}
	monitor, err := f.mapFile(t, "1", page)
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	if got := monitor.Uint32(8 + 8).Load(); got != 1<<1 {
		t.Errorf("monitor word %#x, expected bit 1", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// monitorHost is the signal of a host that polls the monitor page.
type monitorHost struct {
	page  *mapping.View
	word  int
	bit   uint32
	event *os.File
}

func (m *monitorHost) Wait(ctx context.Context) error {
	for ctx.Err() == nil {
		if m.page.Uint32(m.word).And(^m.bit)&m.bit != 0 {
			return nil
		}
		time.Sleep(20 * time.Microsecond) // a host's latency
	}
	return ctx.Err()
}

func (m *monitorHost) Notify() error {
	_, err := m.event.Write([]byte{1, 0, 0, 0})
	return err
}

func (m *monitorHost) Close() error { return nil }

// revocable is an event file whose device can be taken away.
type revocable struct {
	revoked chan struct{}
	write   error // of a device that is gone
}

func (r *revocable) Read([]byte) (int, error) {
	<-r.revoked
	return 0, &fs.PathError{Op: "read", Path: "/dev/uio0", Err: syscall.EIO}
}

func (r *revocable) Write(b []byte) (int, error) {
	select {
	case <-r.revoked:
		return 0, &fs.PathError{Op: "write", Path: "/dev/uio0", Err: r.write}
	default:
		return len(b), nil
	}
}

func (r *revocable) Close() error                    { return nil }
func (r *revocable) SetReadDeadline(time.Time) error { return nil }

// TestRevocation: everybody who waits is told, the memory is unmapped, and
// nothing is written to it any more.
func TestRevocation(t *testing.T) {
	for _, writeError := range []syscall.Errno{syscall.EIO, syscall.EINVAL} {
		f := newFakeDevice(t)
		f.hw.event.Close()
		event := &revocable{revoked: make(chan struct{}), write: writeError}
		f.hw.event = event
		var rings *mapping.View
		mapArea := f.hw.mapArea
		f.hw.mapArea = func(index, size int) (*mapping.View, error) {
			v, err := mapArea(index, size)
			rings = v
			return v, err
		}
		c, err := f.device.open(f.hw, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := c.Primary.Receive(context.Background(), make([]vmbusring.Packet, 1))
			ended <- err
		}()
		go func() {
			p := &vmbusring.Packet{Type: vmbusring.InBand, Payload: make([]byte, 60000)}
			_, err := c.Primary.Send(context.Background(), p, p)
			ended <- err
		}()
		close(event.revoked)
		for range 2 {
			if err := <-ended; !errors.Is(err, signal.ErrRevoked) {
				t.Errorf("%v, expected revoked", err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if rings.Bytes() != nil {
			t.Error("the rings are still mapped")
		}
		if _, err := c.Primary.Send(t.Context(), &vmbusring.Packet{Type: vmbusring.InBand}); !errors.Is(err, signal.ErrRevoked) {
			t.Errorf("%v, expected revoked", err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	f := newFakeDevice(t)
	f.device.Path = filepath.Join(f.dir, "missing")
	if _, err := f.device.Open(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing device file: %v", err)
	}
	f.device.Path = filepath.Join(f.dir, "regular")
	if err := os.WriteFile(f.device.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.device.Open(nil); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("device outside the poller: %v", err)
	}
	id := uint32(1)
	f.device.Monitor, f.device.Maps = &id, f.device.Maps[:2]
	if _, err := f.device.open(f.hw, nil); !errors.Is(err, ErrNoSignal) {
		t.Errorf("monitor id without a monitor page: %v", err)
	}
	f = newFakeDevice(t)
	id = 128
	f.device.Monitor = &id
	if _, err := f.device.open(f.hw, nil); err == nil {
		t.Error("monitor id 128 was accepted")
	}
}
