package shmring

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"

	"loomstore/internal/mapping"
)

// Options for Create and Open; nil means the defaults.
type Options struct {
	// Plain leaves the control block out: Create makes the two objects of the
	// format and nothing else, Open does not look for more. Both ends then
	// poll, and a dead peer is not noticed.
	Plain bool
}

// Pair is one process's hold on a pair of rings: it pushes to one and pops
// from the other. Its methods may be called by any goroutine.
type Pair struct {
	name     string
	party    party
	producer *Producer
	consumer *Consumer
	control  *control // nil: a plain pair
	objects  objects
	claimed  [2]atomic.Bool // producer, consumer
	closed   atomic.Bool
}

// Create makes the pair NAME: the objects demikernel-NAME:tx, which this
// process pushes to, and :rx, which it pops from, and :cb beside them. They
// appear complete. What a process that died left under the name is removed
// first; a name that is in use, or whose owner is not known, is an error that
// wraps fs.ErrExist.
//
// Messages may be pushed at once, before the peer has opened the pair.
func Create(name string, o *Options) (*Pair, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return create(name, o != nil && o.Plain)
}

// Open attaches to the pair NAME that somebody created: it pushes to :rx and
// pops from :tx. Nothing is written into the rings. A pair that does not exist
// wraps fs.ErrNotExist; one that had an opener is ErrInUse; one whose creator
// died is ErrPeerDead; rings that are corrupt or of another size are a
// *CorruptError.
func Open(name string, o *Options) (*Pair, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return open(name, o != nil && o.Plain)
}

// views are the mappings of a pair, which live as long as it can be reached.
type views struct{ push, pop, control *mapping.View }

func (v views) close() error {
	var errs []error
	for _, view := range []*mapping.View{v.push, v.pop, v.control} {
		if view != nil {
			errs = append(errs, view.Close())
		}
	}
	return errors.Join(errs...)
}

// guard calls f and turns a fault in one of the views into an error.
func (v views) guard(f func() error) error {
	for _, view := range []*mapping.View{v.push, v.pop, v.control} {
		if view != nil {
			inner := f
			f = func() error { return mapping.Guarded(view.Bytes(), inner) }
		}
	}
	return f()
}

// newPair builds both ends over mapped rings. The control may be nil.
func newPair(name string, self party, v views, c *control, o objects) (*Pair, error) {
	producer, err := NewProducer(v.push)
	if err != nil {
		return nil, err
	}
	consumer, err := NewConsumer(v.pop)
	if err != nil {
		return nil, err
	}
	p := &Pair{name: name, party: self, producer: producer, consumer: consumer, control: c, objects: o}
	producer.join(p, self, true)
	consumer.join(p, self.other(), false)
	// A goroutine may still be inside an end when another one closes the pair,
	// and a lock for every message would cost more than the message. So Close
	// leaves the memory mapped, and it goes with the last reference.
	runtime.AddCleanup(p, func(v views) { _ = v.close() }, v)
	return p, nil
}

// Producer hands out the only producer, once: then it returns ErrClaimed.
func (p *Pair) Producer() (*Producer, error) {
	if !p.claimed[0].CompareAndSwap(false, true) {
		return nil, ErrClaimed
	}
	return p.producer, nil
}

// Consumer hands out the only consumer, once: then it returns ErrClaimed.
func (p *Pair) Consumer() (*Consumer, error) {
	if !p.claimed[1].CompareAndSwap(false, true) {
		return nil, ErrClaimed
	}
	return p.consumer, nil
}

// Close lets go of the pair. Calls in progress on its ends return ErrClosed,
// later ones as well. The creator's Close removes the names: a peer that has
// not opened the pair by then never will, one that has can still pop what is
// there. No end of stream is sent: see Producer.CloseWrite, and Producer.Drain
// to wait for the peer. The bytes of Peek and Reserve must not be touched any
// more. Closing twice returns ErrClosed.
func (p *Pair) Close() error {
	if !p.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	p.producer.finish()
	p.consumer.finish()
	var errs []error
	if p.party == creator {
		errs = append(errs, p.objects.unlink(p.name))
	}
	if p.control != nil {
		errs = append(errs, p.control.detach())
	}
	errs = append(errs, p.objects.close())
	runtime.KeepAlive(p)
	return errors.Join(errs...)
}

// dropped tells that the names of a pair that a plain peer created are gone:
// upstream removes them when it closes.
func (p *Pair) dropped() bool {
	return p.party == opener && p.control == nil && p.objects.unlinked()
}

// objects are the open files of a pair, as far as they are needed after
// mapping, and the inode numbers that say which names are its own.
type objects struct {
	push, pop *os.File  // nil with a control block
	inodes    [3]uint64 // of :tx, :rx and :cb; 0 = none
}

func (o objects) close() error {
	var errs []error
	for _, f := range []*os.File{o.push, o.pop} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
