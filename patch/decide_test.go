package patch

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// What the proofs of a row answer. A proof without an answer must not be asked
// for.
type answers map[string]error

var (
	disproved  = &Defect{Class: ErrDamaged, File: ImageFile, Page: 3, Offset: -1, Reason: "disproved"}
	unreadable = errors.New("input/output error")
)

// epoch4 is the record that most rows decide about: 4 pages became 6.
func epoch4(edit ...func(*Record)) *Record {
	r := &Record{Store: UUID{7}, Base: 3, Epoch: 4, OldPages: 4, NewPages: 6, Low: 6 * 256, OldDigest: Digest{3, 3}, NewDigest: Digest{4, 4}, Lines: 2}
	for _, e := range edit {
		e(r)
	}
	return r
}

// epoch3 is the record below it.
func epoch3() *Record {
	return &Record{Store: UUID{7}, Base: 2, Epoch: 3, OldPages: 4, NewPages: 4, Low: 4 * 256, NewDigest: Digest{3, 3}}
}

func headerOf(r *Record, edit ...func(*Header)) *Header {
	h := &Header{Store: r.Store, Epoch: r.Epoch, Pages: r.NewPages, Low: r.Low, Digest: r.NewDigest}
	for _, e := range edit {
		e(h)
	}
	return h
}

func clean(h *Header) { h.Clean = true }

// evidence is what a row's files and answers amount to. It counts the
// questions in asked.
func (a answers) evidence(c *Control, h *Header, asked map[string]int) *Evidence {
	ask := func(proof string) error {
		asked[proof]++
		return a[proof]
	}
	return &Evidence{
		Control: c, Header: h,
		LengthBetween:    func(*Record) error { return ask("between") },
		LengthsExact:     func(pages int) error { return ask(fmt.Sprint("exact ", pages)) },
		Body:             func(*Record) error { return ask("body") },
		TableFits:        func(*Record) error { return ask("table") },
		PatchedImageFits: func(*Record) error { return ask("patched") },
		ImageFits:        func(pages int, d Digest) error { return ask(fmt.Sprintf("image %d %v", pages, d)) },
	}
}

// The recovery table of docs/crash-safety.md, row for row: what is decided, and
// which proofs were asked for, each once.
func TestDecide(t *testing.T) {
	imageOf4 := fmt.Sprintf("image 6 %v", Digest{4, 4})
	imageOf5 := fmt.Sprintf("image 6 %v", Digest{5, 5})
	header5 := headerOf(epoch4(), func(h *Header) { h.Epoch, h.Digest = 5, Digest{5, 5} })
	torn := bytes.Repeat([]byte{0xa5}, BlockSize)
	for _, c := range []struct {
		name    string
		copies  []*Record // of control.bin; nil: the file is missing
		tear    []int     // copies that hold garbage
		header  *Header
		answers answers
		want    Step
		class   error
	}{
		{name: "closed", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch4(), clean),
			answers: answers{"exact 6": nil}, want: Nothing},
		{name: "closed, other slot never written", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch4(), clean),
			answers: answers{"exact 6": nil}, want: Nothing},
		{name: "closed, wrong lengths", copies: []*Record{epoch4(), epoch4(), epoch3(), nil}, header: headerOf(epoch4(), clean),
			answers: answers{"exact 6": disproved, "body": nil, "between": nil, "table": nil}, want: Apply},
		{name: "closed, other slot torn, image proven", copies: []*Record{epoch4(), epoch4(), nil, nil}, tear: []int{2, 3}, header: headerOf(epoch4(), clean),
			answers: answers{"exact 6": nil, imageOf4: nil}, want: Nothing},
		{name: "closed, other slot torn, image not proven", copies: []*Record{epoch4(), epoch4(), nil, nil}, tear: []int{2, 3}, header: headerOf(epoch4(), clean),
			answers: answers{"exact 6": nil, imageOf4: disproved}, want: Refuse, class: ErrDamaged},
		{name: "closed, other slot torn, wrong lengths", copies: []*Record{epoch4(), epoch4(), nil, nil}, tear: []int{2}, header: headerOf(epoch4(), clean),
			answers: answers{"exact 6": disproved}, want: Refuse, class: ErrDamaged},

		{name: "pending, header at the record", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch4()),
			answers: answers{"body": nil, "between": nil, "table": nil}, want: Apply},
		{name: "pending, header before the record", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch3(), clean),
			answers: answers{"body": nil, "between": nil, "table": nil}, want: Apply},
		{name: "pending, one copy", copies: []*Record{nil, epoch4(), epoch3(), epoch3()}, tear: []int{0}, header: headerOf(epoch3()),
			answers: answers{"body": nil, "between": nil, "table": nil}, want: Apply},
		{name: "pending, image too short or too long", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch3()),
			answers: answers{"body": nil, "between": disproved}, want: Refuse, class: ErrDamaged},
		{name: "pending, table damaged, image proven", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch3()),
			answers: answers{"body": nil, "between": nil, "table": disproved, "patched": nil}, want: RebuildApply},
		{name: "pending, neither proven", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch3()),
			answers: answers{"body": nil, "between": nil, "table": disproved, "patched": disproved}, want: Refuse, class: ErrDamaged},
		{name: "body damaged, image proven", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch3()),
			answers: answers{"body": disproved, imageOf4: nil}, want: Proven},
		{name: "body damaged, image not proven", copies: []*Record{epoch4(), epoch4(), epoch3(), epoch3()}, header: headerOf(epoch4()),
			answers: answers{"body": disproved, imageOf4: disproved}, want: Refuse, class: ErrDamaged},

		{name: "record lost, image proven", copies: []*Record{epoch4(), epoch4(), nil, nil}, tear: []int{2, 3}, header: header5,
			answers: answers{imageOf5: nil}, want: Proven},
		{name: "record lost, image not proven", copies: []*Record{epoch4(), epoch4(), nil, nil}, tear: []int{2, 3}, header: header5,
			answers: answers{imageOf5: disproved}, want: Refuse, class: ErrDamaged},
		{name: "record lost, an older one in its slot", copies: []*Record{epoch4(), epoch4(), epoch3(), nil}, header: header5,
			want: Refuse, class: ErrDamaged},

		{name: "no header, image proven", copies: []*Record{epoch4(), nil, nil, nil}, answers: answers{imageOf4: nil}, want: Proven},
		{name: "no header, image not proven", copies: []*Record{epoch4(), nil, nil, nil}, answers: answers{imageOf4: disproved}, want: Refuse, class: ErrDamaged},
		{name: "neither header nor record", copies: []*Record{nil, nil, nil, nil}, tear: []int{0}, want: Refuse, class: ErrDamaged},

		{name: "no control.bin", header: headerOf(epoch4()), want: Refuse, class: ErrDamaged},
		{name: "no record", copies: []*Record{nil, nil, nil, nil}, header: headerOf(epoch4()), want: Refuse, class: ErrDamaged},
		{name: "two stores", copies: []*Record{epoch4(), epoch4(), nil, nil}, header: headerOf(epoch4(), clean, func(h *Header) { h.Store = UUID{8} }),
			want: Refuse, class: ErrMismatch},
		{name: "header two epochs before", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch3(), func(h *Header) { h.Epoch = 2 }),
			want: Refuse, class: ErrMismatch},
		{name: "header two epochs behind", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch3(), func(h *Header) { h.Epoch = 6 }),
			want: Refuse, class: ErrMismatch},
		{name: "header of the record with other pages", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch4(), clean, func(h *Header) { h.Pages = 5 }),
			want: Refuse, class: ErrMismatch},
		{name: "header of the record with another digest", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch4(), func(h *Header) { h.Digest.Lo++ }),
			want: Refuse, class: ErrMismatch},
		{name: "header before the record with other pages", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch3(), func(h *Header) { h.Pages = 5 }),
			want: Refuse, class: ErrMismatch},
		{name: "header before the record with another digest", copies: []*Record{epoch4(), nil, nil, nil}, header: headerOf(epoch3(), func(h *Header) { h.Digest.Hi++ }),
			want: Refuse, class: ErrMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ctl *Control
			if c.copies != nil {
				b := control(c.copies...)
				for _, i := range c.tear {
					copy(b[i*BlockSize:], torn)
				}
				var err error
				if ctl, err = ReadControl(bytes.NewReader(b), ControlSize, tiny); err != nil {
					t.Fatal(err)
				}
			}
			asked := map[string]int{}
			v, err := Decide(c.answers.evidence(ctl, c.header, asked))
			if err != nil || v.Step != c.want {
				t.Fatalf("step %d because %q (%v), want %d", v.Step, v.Reason, err, c.want)
			}
			if c.class != nil && !errors.Is(v.Err, c.class) || c.class == nil && v.Err != nil {
				t.Errorf("%v, want %v", v.Err, c.class)
			}
			if v.Step == Proven && (v.Record.Lines != 0 || v.Record.NewPages != 6) {
				t.Errorf("proven with %+v", v.Record)
			}
			for _, proof := range slices.Collect(maps.Keys(c.answers)) {
				if asked[proof] != 1 {
					t.Errorf("asked %d times for %q", asked[proof], proof)
				}
				delete(asked, proof)
			}
			if len(asked) != 0 {
				t.Errorf("asked also for %v", asked)
			}

			// A proof that can not be read decides nothing (R9).
			for proof := range c.answers {
				a := maps.Clone(c.answers)
				a[proof] = unreadable
				v, err := a.decide(ctl, c.header)
				if !errors.Is(err, unreadable) && !(v.Step == Refuse && errors.Is(v.Err, unreadable)) {
					t.Errorf("with %q not readable: step %d, %v", proof, v.Step, err)
				}
			}
		})
	}
}

func (a answers) decide(c *Control, h *Header) (Verdict, error) {
	return Decide(a.evidence(c, h, map[string]int{}))
}
