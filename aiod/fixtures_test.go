package aiod

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dump is one request of the recorded ones: what stood in memory before the
// original served it and after, as files and as named fields.
type dump struct {
	Set, Case   string
	ABI         int
	Daemon      int
	Msg         uint64
	Before      map[string]any
	After       map[string]any
	FileBefore  map[string]any `json:"file_before"`
	FileAfter   map[string]any `json:"file_after"`
	Files       map[string]string
	ServerGone  string `json:"result"`
	description string
}

// loadDumps reads the recorded requests, or skips the test.
func loadDumps(t *testing.T) (dir string, dumps []dump) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(dir, "..", "shared", "fixtures", "aiod")
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Skip("not run: the recorded requests of the original are not here")
	}
	var m struct{ Entries []dump }
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for i := range m.Entries {
		d := &m.Entries[i]
		d.description = d.Case
		if d.description == "" {
			d.description = d.Before["name"].(string)
		}
	}
	return dir, m.Entries
}

func (d *dump) raw(t *testing.T, dir, which string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, d.Files[which]))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDumpsDecode decodes every recorded request where it stood in memory and
// compares with the fields that were named when it was recorded.
func TestDumpsDecode(t *testing.T) {
	dir, dumps := loadDumps(t)
	for _, d := range dumps {
		t.Run(d.description, func(t *testing.T) {
			mem := make([]byte, 1<<17)
			copy(mem[d.Msg:], d.raw(t, dir, "before"))
			fh, _ := d.Before["fh"].(float64)
			if d.FileBefore != nil {
				copy(mem[uint64(fh):], d.raw(t, dir, "file_before"))
			}
			r, err := DecodeRequest(ABI(d.ABI), mem, d.Msg)
			name := d.Before["name"]
			switch {
			case name == "?":
				if e, ok := err.(*RequestError); !ok || e.Errno != errnoENOSYS || e.Mute {
					t.Fatalf("got %v, want ENOSYS", err)
				}
				return
			case d.Case == "read-efault-oob-buf":
				if e, ok := err.(*RequestError); !ok || float64(e.Errno) != d.After["err"] {
					t.Fatalf("got %v, want errno %v as the original", err, d.After["err"])
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			got := map[string]any{"name": r.Op.String()}
			want := map[string]any{"name": name}
			number := func(key string, v any) {
				if w, ok := d.Before[key]; ok {
					got[key], want[key] = v, w
				}
			}
			number("fh", float64(r.FH))
			number("mode", float64(r.Mode))
			number("buf", float64(r.Buf))
			number("len", float64(r.Len))
			number("pos", float64(r.Pos))
			number("length", float64(r.Pos))
			number("bufsize", float64(r.Size))
			number("path", r.Path1)
			number("path1", r.Path1)
			if _, two := d.Before["path2"]; two && d.Before["path2"] != "" {
				number("path2", r.Path2)
			}
			if d.FileBefore != nil {
				f := r.file(mem)
				path, err := r.cstring(mem, r.FH+filePath)
				if err != nil {
					t.Fatal(err)
				}
				got["file"] = map[string]any{"handle": float64(f.handle), "oflags": float64(f.flags), "dev": float64(f.dev), "ino": float64(f.ino), "path": path}
				want["file"] = d.FileBefore
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("decoded (-recorded +ours):\n%s", diff)
			}
		})
	}
}

// TestDumpsResults reads the recorded results of the original as our client
// reads them, and encodes what it read as our server would.
func TestDumpsResults(t *testing.T) {
	dir, dumps := loadDumps(t)
	read := 0
	for _, d := range dumps {
		if d.After == nil || statSize != 144 {
			continue
		}
		after := d.raw(t, dir, "after")
		if got := binary.LittleEndian.Uint32(after[offErr:]); float64(got) != d.After["err"] {
			t.Errorf("%s: err %d, recorded %v", d.description, got, d.After["err"])
		}
		if want, ok := d.After["stat"].(map[string]any); ok {
			read++
			at := offPath
			if d.After["name"] == "FSTAT" {
				at = offFstat
			}
			st := decodeStat(after[at:])
			got := map[string]any{
				"st_dev": float64(st.Dev), "st_ino": float64(st.Ino), "st_nlink": float64(st.Nlink), "st_mode": float64(st.Mode),
				"st_uid": float64(st.UID), "st_gid": float64(st.GID), "_pad": 0.0, "st_rdev": float64(st.Rdev),
				"st_size": float64(st.Size), "st_blksize": float64(st.Blksize), "st_blocks": float64(st.Blocks),
			}
			for name, at := range map[string]time.Time{"atime": st.Atime, "mtime": st.Mtime, "ctime": st.Ctime} {
				got[name+"_s"], got[name+"_ns"] = float64(at.Unix()), float64(at.Nanosecond())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: stat (-recorded +ours):\n%s", d.description, diff)
			}
			if diff := cmp.Diff(after[at:at+120], st.encode()[:120]); diff != "" {
				t.Errorf("%s: encoded again: %s", d.description, diff)
			}
		}
		if want, ok := d.After["statvfs"].(map[string]any); ok {
			read++
			v := decodeStatvfs(after[offPath:])
			got := map[string]any{
				"f_bsize": float64(v.Bsize), "f_frsize": float64(v.Frsize), "f_blocks": float64(v.Blocks), "f_bfree": float64(v.Bfree),
				"f_bavail": float64(v.Bavail), "f_files": float64(v.Files), "f_ffree": float64(v.Ffree), "f_favail": float64(v.Favail),
				"f_fsid": float64(v.Fsid), "f_flag": float64(v.Flag), "f_namemax": float64(v.Namemax),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: statvfs (-recorded +ours):\n%s", d.description, diff)
			}
			if diff := cmp.Diff(after[offPath:offPath+88], v.encode()[:88]); diff != "" {
				t.Errorf("%s: encoded again: %s", d.description, diff)
			}
		}
		if d.After["name"] == "READDIR" && d.After["len"] != 0.0 {
			read++
			buf := d.raw(t, dir, "buf_after")
			entry := append([]byte(nil), buf...)
			binary.LittleEndian.PutUint16(entry[16:], direntSize)
			e, _, ok := nextDirent(entry)
			if !ok {
				t.Fatalf("%s: no entry in %x", d.description, buf)
			}
			ours := e.encode(direntSize)
			if diff := cmp.Diff(buf[:direntName+len(e.name)+1], ours[:direntName+len(e.name)+1]); diff != "" {
				t.Errorf("%s: entry %q encoded again: %s", d.description, e.name, diff)
			}
		}
	}
	if read == 0 {
		t.Error("no result was read")
	}
}
