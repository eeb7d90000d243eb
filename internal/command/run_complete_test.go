package command

import "testing"

func TestIncomplete(t *testing.T) {
	for source, want := range map[string]bool{
		"":                    false,
		"1 + 1":               false,
		"(1 +":                true,
		"(1 +\n1)":            false,
		"function f() {":      true,
		"function f() {\n}":   false,
		"[1, {a: 2}":          true,
		"a]":                  false, // the compiler's error
		"'('":                 false,
		`"\"("`:               false,
		"'unterminated (":     false,
		"'goes on \\":         true,
		"`line":               true,
		"`a ${b":              true,
		"`a ${ {c: `}`} } d":  true,
		"`a ${ {c: `}`} } d`": false,
		"`\\``":               false,
		"1 // (":              false,
		"( // )":              true,
		"1 /* (":              true,
		"1 /* ( */":           false,
		"a / b / (":           true,
		"a = /[(/]/":          false,
		"/(/.test(x)":         false,
		"return /(/":          false,
		"(1) / 2 / (":         true,
		"}\n/(/":              false,
		"x = a[1] / (2)":      false,
		"ä = '€('":            false,
	} {
		if got := incomplete(source); got != want {
			t.Errorf("incomplete(%q) = %v", source, got)
		}
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "16384": 16384, "64K": 64 << 10, "512m": 512 << 20, "4G": 4 << 30, "1T": 1 << 40, "3000K": 3000 << 10,
	} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
		var again byteSize
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%d is written as %s", got, got.String())
		}
	}
	for _, text := range []string{"", "K", "-1", "1.5G", "1KB", "9999999999T"} {
		if err := new(byteSize).Set(text); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
}
