// Package loomstore_test keeps the structure of the module: which package may
// import which, where unsafe memory is allowed, and that every package says
// what it is for. The rules stand in docs/rationale.md.
package loomstore_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows says what each package may import of this module. Test files may
// import anything but what would turn an arrow round.
var arrows = map[string][]string{
	"cmd/loomctl":                {"internal/command"},
	"internal/command":           {"internal/quickjs", "wasm", "loom", "image", "patch", "guard", "fault", "internal/vfs", "internal/mapping", "shmread", "vmbusring", "vmbusring/packetgen", "vmbusring/signal", "vmbusring/uio", "shmring", "internal/ringload", "aiod", "aiodfs"},
	"internal/quickjs":           {"wasm", "loom"},
	"wasm":                       {"loom"},
	"loom":                       {"image", "patch", "guard", "fault", "internal/vfs", "internal/checksum", "internal/mapping"},
	"image":                      {"patch", "internal/vfs", "internal/checksum"},
	"patch":                      {"internal/vfs", "internal/checksum"},
	"fault":                      {"guard", "internal/mapping"},
	"guard":                      {},
	"internal/mapping":           {},
	"internal/checksum":          {},
	"internal/vfs":               {},
	"internal/vfs/memfs":         {"internal/vfs"},
	"internal/vfs/errorfs":       {"internal/vfs"},
	"internal/vfs/oplog":         {"internal/vfs"},
	"internal/crash":             {"image", "patch", "internal/vfs", "internal/vfs/memfs", "internal/vfs/errorfs", "internal/vfs/oplog", "internal/checksum"},
	"internal/inject":            {},
	"internal/endure":            {},
	"internal/crash/veremodel":   {"internal/vfs", "internal/checksum"}, // for tests
	"shmread":                    {"internal/mapping"},
	"vmbusring":                  {"vmbusring/signal", "internal/mapping"},
	"vmbusring/packetgen":        {"vmbusring"},
	"vmbusring/signal":           {"internal/mapping"},
	"vmbusring/uio":              {"vmbusring", "vmbusring/signal", "internal/mapping"},
	"vmbusring/internal/fixture": {}, // for tests
	"shmring":                    {"internal/mapping"},
	"aiod":                       {"internal/mapping"},
	"aiodfs":                     {"aiod", "internal/vfs"},
	"internal/aiodtest":          {"aiod"}, // for tests
	"internal/ringload":          {},
	"fuzz":                       {"*"}, // test files only
	"":                           {},
}

// mayBeUnsafe are the packages that may import unsafe and map memory.
var mayBeUnsafe = []string{"internal/mapping", "fault"}

const module = "loomstore"

type source struct {
	dir  string
	test bool
	file *ast.File
}

func parseAll(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// bench is a module of its own, guest holds what npm installed.
		if d.IsDir() && slices.Contains([]string{"bench", "guest", "testdata", ".git", "state"}, d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(name))
		if dir == "." {
			dir = ""
		}
		all = append(all, source{dir: dir, test: strings.HasSuffix(name, "_test.go"), file: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func imports(f *ast.File) []string {
	var list []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err)
		}
		list = append(list, p)
	}
	return list
}

func TestArrows(t *testing.T) {
	for _, s := range parseAll(t) {
		allowed, known := arrows[s.dir]
		if !known {
			t.Errorf("package %s has no arrows: add it to the table", s.dir)
			continue
		}
		for _, p := range imports(s.file) {
			rel, ours := strings.CutPrefix(p, module+"/")
			if !ours || s.test || rel == s.dir || slices.Contains(allowed, rel) || slices.Contains(allowed, "*") {
				continue
			}
			t.Errorf("%s imports %s, which is against the arrows", s.dir, rel)
		}
	}
}

func TestUnsafeIsConfined(t *testing.T) {
	calls := []string{"Mmap", "Munmap", "Mprotect", "Madvise", "Mremap", "SYS_MMAP", "SYS_MPROTECT", "SYS_MADVISE", "SYS_MREMAP", "SYS_USERFAULTFD"}
	for _, s := range parseAll(t) {
		if slices.Contains(mayBeUnsafe, s.dir) {
			continue
		}
		if slices.Contains(imports(s.file), "unsafe") {
			t.Errorf("%s: %s imports unsafe", s.dir, s.file.Name)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "unix" || pkg.Name == "syscall") && slices.Contains(calls, sel.Sel.Name) {
				t.Errorf("%s calls %s.%s", s.dir, pkg.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range parseAll(t) {
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil && strings.HasPrefix(s.file.Doc.Text(), "Package ") ||
			s.file.Doc != nil && s.file.Name.Name == "main"
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

// Every arrow of the table is one that exists: a rule for nobody is removed.
func TestTableIsCurrent(t *testing.T) {
	dirs := map[string]bool{}
	for _, s := range parseAll(t) {
		dirs[s.dir] = true
	}
	for dir := range arrows {
		if !dirs[dir] {
			t.Errorf("there is no package %q: remove it from the table", dir)
		}
	}
}
