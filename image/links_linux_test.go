package image_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	cerrors "github.com/cockroachdb/errors"

	"loomstore/image"
	"loomstore/patch"
)

// symlink makes a link and returns a check that it still is one.
func symlink(t *testing.T, target, name string) (check func()) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if got, err := os.Readlink(name); err != nil || got != target {
			t.Errorf("the link has become %q, %v", got, err)
		}
	}
}

// A link to nothing, above all to a disk that is not mounted, is nobody's to
// remove.
func TestLinkToNothingStays(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	closedStoreIn(t, filepath.Join(dir, "store"), &image.Options{Create: true})
	link := filepath.Join(dir, "link")
	check := symlink(t, filepath.Join(dir, "unmounted"), link)
	for what, do := range map[string]func() error{
		"Open": func() error {
			_, _, err := image.Open(ctx, filepath.Join(link, "store"), &image.Options{Create: true})
			return err
		},
		"Backup": func() error {
			_, err := image.Backup(ctx, filepath.Join(dir, "store"), filepath.Join(link, "copy"), nil, nil)
			return err
		},
		"Export": func() error {
			_, err := image.Export(ctx, filepath.Join(dir, "store"), filepath.Join(link, "pier"), nil, nil)
			return err
		},
	} {
		if err := do(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", what, err)
		}
		check()
	}
}

// A store, found or new, of which a file is a symbolic link writes nothing where
// that leads, says so, and is not changed.
func TestFileThatIsALink(t *testing.T) {
	ctx := context.Background()
	for _, found := range []bool{true, false} {
		for _, name := range []string{image.LockFile, patch.ControlFile, patch.MemoryFile, patch.ImageFile, patch.SumsFile} {
			for _, content := range []string{"words", "", "none"} {
				dir := t.TempDir()
				store, other := filepath.Join(dir, "store"), filepath.Join(dir, "other")
				if err := os.Mkdir(store, 0o700); err != nil {
					t.Fatal(err)
				}
				if content != "none" {
					if err := os.WriteFile(other, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if found {
					closedStoreIn(t, store, &image.Options{Create: true})
					if err := os.Remove(filepath.Join(store, name)); err != nil {
						t.Fatal(err)
					}
				}
				check := symlink(t, other, filepath.Join(store, name))
				s, report, err := image.Open(ctx, store, &image.Options{Create: true})
				if err == nil { // a leftover of vere's is set aside, link and all
					if len(report.Kept) == 0 {
						t.Errorf("found %v, %s, %q: opened, %+v", found, name, content, report)
					}
					if err := s.Close(ctx); err != nil {
						t.Fatal(err)
					}
				} else {
					if errors.Is(err, syscall.ELOOP) && len(cerrors.GetAllHints(err)) != 1 {
						t.Errorf("found %v, %s, %q: %v, hints %q", found, name, content, err, cerrors.GetAllHints(err))
					}
					check()
				}
				if b, err := os.ReadFile(other); content != "none" && (err != nil || string(b) != content) || content == "none" && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("found %v, %s, %q: behind the link is %q, %v", found, name, content, b, err)
				}
			}
		}
	}
}

// Restore takes the place of an empty directory, not that of a link to one.
func TestRestoreToALink(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	closedStoreIn(t, filepath.Join(dir, "store"), &image.Options{Create: true})
	disk, link := filepath.Join(dir, "disk"), filepath.Join(dir, "link")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	check := symlink(t, disk, link)
	t.Chdir(disk)
	for _, dst := range []string{link, link + "/", "."} {
		if _, err := image.Restore(ctx, filepath.Join(dir, "store"), dst, nil, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", dst, err)
		}
		check()
	}
	if _, err := image.Restore(ctx, filepath.Join(dir, "store"), disk, nil, nil); err != nil {
		t.Error(err)
	}
}
