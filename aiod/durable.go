package aiod

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces the file name by one that holds data, or creates it. When
// it returns nil the file is durable under its name; after a crash there is
// the old file or the new one, never part of either. It writes a temporary
// file beside it, syncs that, renames it and syncs the directory.
func (c *Client) WriteFile(name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp-" + rand.Text()
	f, err := c.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = c.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, c.Remove(tmp))
	}
	return c.SyncDir(filepath.Dir(name))
}

// RenameDurable is Rename that is durable when it returns, in both
// directories. The file's content must have been synced before.
func (c *Client) RenameDurable(oldname, newname string) error {
	if err := c.Rename(oldname, newname); err != nil {
		return err
	}
	from, to := filepath.Dir(oldname), filepath.Dir(newname)
	err := c.SyncDir(to)
	if from != to {
		err = errors.Join(err, c.SyncDir(from))
	}
	return err
}
