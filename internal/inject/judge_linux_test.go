package inject

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One sound checkpoint, and what the judge says when one of its calls fails, is
// missing or stands elsewhere.
func TestJudge(t *testing.T) {
	const (
		reserve    = `1 fallocate(3</s/memory.bin>, FALLOC_FL_KEEP_SIZE, 0, 20480) = 0`
		body       = `1 pwrite64(3</s/memory.bin>, ""..., 20480, 0) = 20480`
		bodySync   = `1 fdatasync(3</s/memory.bin>) = 0`
		record     = `1 pwrite64(4</s/control.bin>, ""..., 8192, 0) = 8192`
		recordSync = `1 fdatasync(4</s/control.bin>) = 0`
		ack        = `1 write(1</out>, "1\n", 2) = 2`
		page       = `2 pwrite64(5</s/image.bin>, ""..., 16384, 0) = 16384`
		pageSync   = `2 fdatasync(5</s/image.bin>) = 0`
	)
	failed := func(line string) string {
		return strings.Split(line, " = ")[0] + " = -1 EIO (Input/output error) (INJECTED)"
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  string // "" is no complaint
	}{
		{"sound", []string{reserve, body, bodySync, record, recordSync, ack, page, pageSync}, ""},
		{"sound, in two parts", []string{reserve, strings.Replace(body, ") = 20480", " <unfinished ...>", 1), "2 fdatasync(5</s/image.bin>) = 0", "1 <... pwrite64 resumed>) = 20480", bodySync, record, recordSync, ack}, ""},
		{"body written again", []string{reserve, body, failed(bodySync), body, bodySync, record, recordSync, ack}, ""},
		{"body not synced", []string{reserve, body, record, recordSync, ack}, "record before memory.bin"},
		{"body synced again only", []string{reserve, body, failed(bodySync), bodySync, record, recordSync}, "record before memory.bin"},
		{"body not written", []string{reserve, failed(body), bodySync, record}, "record before memory.bin"},
		{"body elsewhere", []string{reserve, failed(body), strings.Replace(reserve, "0, 2", "409600, 2", 1), strings.Replace(body, ", 0)", ", 409600)", 1), bodySync, record, recordSync, ack}, ""},
		{"short body", []string{reserve, strings.Replace(body, "= 20480", "= 4096", 1), bodySync, record}, "record before memory.bin"},
		{"acknowledged too early", []string{reserve, body, bodySync, record, ack, recordSync}, "acknowledgement before control.bin"},
		{"acknowledged in doubt", []string{reserve, body, bodySync, record, failed(recordSync), ack}, "acknowledgement"},
		{"went on in doubt", []string{reserve, body, bodySync, record, failed(recordSync), record}, "another record behind"},
		{"image before record", []string{reserve, body, bodySync, record, page, recordSync, pageSync}, "byte of the image before control.bin"},
		{"record before the last apply", []string{reserve, body, bodySync, record, recordSync, page, reserve, body, bodySync, record}, "record before image.bin"},
		{"zeros behind the end", []string{record, recordSync, `1 ftruncate(5</s/image.bin>, 16384) = 0`,
			`1 fallocate(5</s/image.bin>, FALLOC_FL_KEEP_SIZE|FALLOC_FL_ZERO_RANGE, 0, 20480) = 0`, failed(pageSync), `1 ftruncate(5</s/image.bin>, 16384) = 0`, page, pageSync}, ""},
		{"ended too early", []string{record, recordSync, page}, "ended well"},
		{"recovery of what may be the cache only", []string{page, pageSync}, "byte of the image without a record"},
		{"deleted", []string{`1 unlinkat(AT_FDCWD, "/s/control.bin", 0) = 0`}, "deleted"},
		{"copy not synced", []string{strings.ReplaceAll(page, "/s/", "/t.partial-1/"), `1 renameat(AT_FDCWD, "/t.partial-1", AT_FDCWD, "/t") = 0`}, "appears before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "trace")
			if err := os.WriteFile(file, []byte(text(c.lines)), 0o600); err != nil {
				t.Fatal(err)
			}
			calls, err := parseTrace(file)
			if err != nil {
				t.Fatal(err)
			}
			j := newJudge("/s", "/out")
			for _, call := range calls {
				j.follow(call)
			}
			j.ended()
			if c.want == "" && len(j.errs) > 0 || c.want != "" && (len(j.errs) == 0 || !strings.Contains(j.errs[0], c.want)) {
				t.Errorf("complains %q, want %q", j.errs, c.want)
			}
		})
	}
}
