package shmring

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Anybody may put a symbolic link where a pair's objects should be. Whatever
// it leads to is none of a pair's.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Run("open", func(t *testing.T) {
		name := uniqueName(t)
		victim := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(victim, make([]byte, ObjectSize), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{pushSuffix, popSuffix} {
			if err := os.Symlink(victim, path(name, suffix)); err != nil {
				t.Fatal(err)
			}
		}
		if p, err := Open(name, nil); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("Open through links: %v", err)
			_ = hold(t, p, err).TryPush([]byte("into somebody's file"))
		}
		if got, err := os.ReadFile(victim); err != nil || !bytes.Equal(got, make([]byte, ObjectSize)) {
			t.Errorf("the file behind the links was written to (%v)", err)
		}
	})
	t.Run("open, control block", func(t *testing.T) {
		name, other := uniqueName(t), uniqueName(t)
		pair, err := Create(other, nil)
		claim(t, pair, err)
		for _, suffix := range []string{pushSuffix, popSuffix} {
			if err := os.Link(path(other, suffix), path(name, suffix)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(path(other, controlSuffix), path(name, controlSuffix)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name, nil); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("Open with a linked control block: %v", err)
		}
	})
	for _, suffix := range []string{pushSuffix, popSuffix, controlSuffix} {
		t.Run("create "+suffix, func(t *testing.T) {
			name := uniqueName(t)
			if err := os.Symlink("/nonexistent/object", path(name, suffix)); err != nil {
				t.Fatal(err)
			}
			if _, err := Create(name, nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create: %v", err)
			}
			if inode(path(name, suffix)) == 0 {
				t.Error("the link is gone: it is not ours to remove")
			}
		})
	}
}
