// Package uio finds VMBus devices that uio_hv_generic is bound to, and opens
// their channels: the guest's end of rings that a Hyper-V host serves (spec
// section 4).
//
// Find reads sysfs and opens nothing: the ring sizes, the monitor id, the
// subchannels. Open maps the rings and returns a vmbusring.Channel for the
// primary channel, OpenSubchannel one for each other.
//
// When the host takes the device away, every channel of it fails with
// signal.ErrRevoked, its rings are not touched again, and they are unmapped as
// soon as the last call has left them. Close does the same for a device that
// is still there; the kernel closes the channel with the last mapping.
//
// Binding the driver to a device is the administrator's (new_id,
// driver_override), not this package's.
package uio
