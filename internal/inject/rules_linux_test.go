package inject

import (
	"fmt"
	"path/filepath"
	"strings"
)

// ranges are bytes of a file; setting its length counts as byte -1.
type ranges [][2]int64

func (r ranges) without(from, to int64) (rest ranges) {
	for _, x := range r {
		if x[0] < from {
			rest = append(rest, [2]int64{x[0], min(x[1], from)})
		}
		if x[1] > to {
			rest = append(rest, [2]int64{max(x[0], to), x[1]})
		}
	}
	return rest
}

// fileState is what may be said of one file's bytes on the medium.
type fileState struct {
	dirty ranges // written since the last sync
	// lost bytes were never written, or a sync failed over them: a later sync
	// proves nothing for them, only writing them again does (R4).
	lost   ranges
	length int64 // that it was set to, if it was
}

// far is behind the end of every file.
const far = 1 << 62

// only forgets what lies outside of one range.
func (f *fileState) only(r [2]int64) {
	for _, x := range []*ranges{&f.dirty, &f.lost} {
		*x = x.without(-1, r[0]).without(r[1], far)
	}
}

func (f *fileState) secured() bool { return len(f.dirty) == 0 && len(f.lost) == 0 }

// judge follows a trace and finds acknowledgements and writes to image.bin that
// came before what they rest on.
type judge struct {
	dir    string // of the store
	stdout string
	files  map[string]*fileState
	body   [2]int64 // of the checkpoint in the making: what Stage has reserved
	// imports: image.bin is written before there is a record of ours.
	imports, recorded bool
	unsynced          bool   // a record was written and not yet synced
	doubt             string // the call that left the record in doubt
	errs              []string
}

func newJudge(dir, stdout string) *judge {
	return &judge{dir: dir, stdout: stdout, files: map[string]*fileState{}}
}

func (j *judge) file(path string) *fileState {
	if j.files[path] == nil {
		j.files[path] = new(fileState)
	}
	return j.files[path]
}

func (j *judge) of(name string) *fileState { return j.file(filepath.Join(j.dir, name)) }

func (j *judge) fail(c call, why string) { j.errs = append(j.errs, fmt.Sprintf("%s: %s", why, c.text)) }

// require complains unless all of the files are secured.
func (j *judge) require(c call, what string, names ...string) {
	for _, n := range names {
		if f := j.of(n); !f.secured() {
			j.fail(c, fmt.Sprintf("%s before %s is secured (unsynced %v, lost %v)", what, n, f.dirty, f.lost))
		}
	}
}

// covered complains of a change of the image that no durable patch covers.
func (j *judge) covered(c call) {
	j.require(c, "byte of the image", "control.bin")
	if !j.recorded && !j.imports {
		j.fail(c, "byte of the image without a record that this process wrote (R3)")
	}
}

// follow judges one call. The order of calls is that of their ends, so of two
// that overlapped nothing can be said; the engine lets none of these overlap.
func (j *judge) follow(c call) {
	path := c.path(0)
	control := path == filepath.Join(j.dir, "control.bin")
	// A shorter write takes away what an earlier commit has left.
	record := control && c.name == "pwrite64" && c.number(2) >= 4096
	image := path == filepath.Join(j.dir, "image.bin")
	switch c.name {
	case "fallocate":
		switch {
		case c.flag(1, "FALLOC_FL_ZERO_RANGE") && c.errno == "": // Renew writes zeros
			if image {
				j.covered(c)
			}
			f := j.file(path)
			from, to := c.number(2), c.number(2)+c.number(3)
			if f.length > 0 {
				to = max(from, min(to, f.length)) // what lies behind the end is no content
			}
			f.dirty = append(f.dirty.without(from, to), [2]int64{from, to})
		case !c.flag(1, "FALLOC_FL_ZERO_RANGE") && path == filepath.Join(j.dir, "memory.bin"):
			j.body = [2]int64{c.number(2), c.number(2) + c.number(3)}
		}
	case "write":
		if path == j.stdout && c.errno == "" {
			j.require(c, "acknowledgement", "control.bin")
			if j.doubt != "" {
				j.fail(c, "acknowledgement behind "+j.doubt)
			}
		}
	case "pwrite64", "ftruncate":
		if !strings.HasSuffix(path, ".bin") {
			return
		}
		from, to, done := int64(-1), int64(0), int64(0)
		if c.name == "pwrite64" {
			from = c.number(3)
			to, done = from+c.number(2), from+max(c.result, 0)
		} else if c.errno != "" {
			done = -1
		}
		switch {
		case record:
			// The body of an attempt that failed may lie elsewhere.
			j.of("memory.bin").only(j.body)
			j.require(c, "record", "memory.bin", "image.bin", "sums.bin")
			if j.doubt != "" {
				j.fail(c, "another record behind "+j.doubt)
			}
		case image:
			j.covered(c)
		}
		j.recorded, j.unsynced = j.recorded || record, j.unsynced || record
		f := j.file(path)
		f.dirty, f.lost = f.dirty.without(from, to), f.lost.without(from, to)
		if done > from {
			f.dirty = append(f.dirty, [2]int64{from, done})
		}
		if c.name == "ftruncate" && done == to {
			f.length = c.number(1)
			f.dirty, f.lost = f.dirty.without(f.length, far), f.lost.without(f.length, far)
		}
		if done < to {
			f.lost = append(f.lost, [2]int64{done, to})
			j.record(record, c)
		}
	case "fdatasync":
		f := j.file(path)
		if c.errno != "" {
			f.lost = append(f.lost, f.dirty...)
			j.record(control && j.unsynced, c)
		}
		j.unsynced = j.unsynced && !control
		f.dirty = nil
	case "renameat":
		if c.errno != "" {
			return
		}
		from, to := c.path(1), c.path(3)
		for name, f := range j.files {
			if rest, ok := strings.CutPrefix(name, from+"/"); ok {
				if !f.secured() {
					j.fail(c, name+" appears before it is secured")
				}
				delete(j.files, name)
				j.files[filepath.Join(to, rest)] = f
			}
		}
	case "unlinkat":
		if c.errno == "" && filepath.Dir(c.path(1)) == j.dir && strings.HasSuffix(c.path(1), ".bin") {
			j.fail(c, "deleted")
		}
	}
}

// record notes that a record may be on the medium or not. An interrupted write
// has written nothing and is made again.
func (j *judge) record(touched bool, c call) {
	if touched && c.errno != "EINTR" && j.doubt == "" {
		j.doubt = c.text
	}
}

// ended is asked when the program ended well: nothing may be open then.
func (j *judge) ended() {
	for name, f := range j.files {
		if !f.secured() {
			j.errs = append(j.errs, fmt.Sprintf("ended well, but %s is not secured (unsynced %v, lost %v)", name, f.dirty, f.lost))
		}
	}
}
