package quickjs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"loomstore/internal/vfs/memfs"
	"loomstore/loom"
	"loomstore/wasm"
)

const guestModule = "../../guest/node_modules/quickjs-wasi/quickjs.wasm"

// cacheDir keeps the compiled engine for all tests of the package.
var cacheDir string

func TestMain(m *testing.M) {
	var err error
	if cacheDir, err = os.MkdirTemp("", "quickjs-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(cacheDir)
	os.Exit(code)
}

func guest(t testing.TB) []byte {
	t.Helper()
	bin, err := os.ReadFile(guestModule)
	if err != nil {
		t.Skip("no guest, the JavaScript engine was not run: npm ci --prefix guest --ignore-scripts")
	}
	return bin
}

// world is a store with an engine in it.
type world struct {
	*VM
	loom    *loom.Loom
	printed []string
	open    bool
}

func open(t *testing.T, fs loom.FS, size int64) *world {
	t.Helper()
	bin := guest(t)
	l, err := loom.Open("/state", &loom.Options{Size: size, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{loom: l, open: true}
	w.VM, err = Open(t.Context(), l, Config{Module: bin, CacheDir: cacheDir, Print: func(stream int, line string) {
		w.printed = append(w.printed, fmt.Sprintf("%d %s", stream, line))
	}})
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	t.Cleanup(func() { w.close(t) })
	return w
}

func (w *world) close(t *testing.T) {
	t.Helper()
	if !w.open {
		return
	}
	w.open = false
	if err := errors.Join(w.VM.Close(context.Background()), w.loom.Close()); err != nil {
		t.Error(err)
	}
}

// drain runs every job and grants every checkpoint.
func (w *world) drain(t *testing.T) {
	t.Helper()
	for {
		if w.Requested() {
			w.checkpoint(t)
			if err := w.Settle(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		more, err := w.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !more && !w.Requested() {
			return
		}
	}
}

func (w *world) checkpoint(t *testing.T) {
	t.Helper()
	if _, err := w.VM.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// eval returns "state text" and the errors of an input.
func (w *world) eval(t *testing.T, source string) []string {
	t.Helper()
	err := w.Begin(t.Context(), source, "<test>", "test")
	if thrown := new(ScriptError); errors.As(err, &thrown) {
		return []string{"thrown " + thrown.Text}
	}
	if err != nil {
		t.Fatal(err)
	}
	w.drain(t)
	o, err := w.Outcome(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{string(o.State) + " " + o.Text}, o.Errors...)
}

func (w *world) want(t *testing.T, source string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.eval(t, source)); diff != "" {
		t.Errorf("%s: %s", source, diff)
	}
}

func TestEval(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	for _, c := range [][2]string{
		{"1 + 1", "2"},
		{"-0", "-0"},
		{"10n ** 20n", "100000000000000000000n"},
		{"'a\\n\"b\"'", `"a\n\"b\""`},
		{"'\\ud800'", `"\ud800"`},
		{"'\\0x'", `"\u0000x"`},
		{"undefined", "undefined"},
		{"null", "null"},
		{"Symbol('s')", "Symbol(s)"},
		{"[1, 'two', [3]]", `[ 1, "two", [ 3 ] ]`},
		{"[]", "[]"},
		{"({a: 1, 'b-c': {d: null}, [Symbol('s')]: 2})", `{ a: 1, "b-c": { d: null }, [Symbol(s)]: 2 }`},
		{"({get a() { return 1 }, set b(v) {}})", "{ a: [Getter], b: [Setter] }"},
		{"new (class Point { x = 1 })", "Point { x: 1 }"},
		{"Object.create(null)", "[Object: null prototype] {}"},
		{"[function f() {}, class C {}, () => 1, Math.max]", "[ [Function: f], [class C], [Function], [Function: max] ]"},
		{"new Map([[1, {a: 2}], ['k', new Set([3])]])", `Map(2) { 1 => { a: 2 }, "k" => Set(1) { 3 } }`},
		{"new Uint8Array([1, 2])", "Uint8Array(2) [ 1, 2 ]"},
		{"new Date(0)", "1970-01-01T00:00:00.000Z"},
		{"/a\\/b/g", `/a\/b/g`},
		{"new TypeError('no')", "[TypeError: no]"},
		{"var o = {}; o.self = o; o", "{ self: [Circular] }"},
		{"({a: {b: {c: {d: {e: {f: {}}}}}}})", "{ a: { b: { c: { d: { e: [Object] } } } } }"},
		{"Array(300).fill(0).length", "300"},
		{"new Proxy({}, {ownKeys() { throw 1 }})", "<a value that can not be shown>"},
		{"Promise.resolve(5)", "Promise { 5 }"},
		{"new Promise(() => {})", "Promise { <pending> }"},
		{"await Promise.resolve(5)", "5"},
		{"let x = 1; const y = 2; function f() { return x + y }; class C {}", "undefined"},
		{"f() + new C().constructor.name", `"3C"`},
		{"(function g() { return g() })", "[Function: g]"},
		{"performance.now() >= 0 && Math.random() < 1", "true"},
	} {
		w.want(t, c[0], "done "+c[1])
	}
	w.want(t, "await new Promise(() => {})", "pending Promise { <pending> }")
	if got := w.eval(t, "Array.from({length: 150}, (_, i) => i)")[0]; !strings.HasSuffix(got, " 99, ... 50 more ]") {
		t.Errorf("a long list is shown as %s", got)
	}
}

func TestErrors(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	w.want(t, "syntax error(", "thrown SyntaxError: expecting ';'\n    at <test>:1:8")
	w.want(t, "throw new TypeError('no')", "failed TypeError: no\n    at <eval> (<test>:1:11)")
	w.want(t, "throw {code: 1}", "failed Uncaught { code: 1 }")
	w.want(t, "Promise.reject(7)", "done Promise { <rejected> 7 }", "Uncaught 7")
	w.want(t, "Promise.reject(7).catch(() => 8)", "done Promise { 8 }")
	w.want(t, "let late = Promise.reject(7); await null; await null; late.catch(() => {})", "done Promise { undefined }")
	w.want(t, "1", "done 1") // nothing is reported twice
	w.want(t, "await import('x')", "failed ReferenceError: could not load module 'x'")
	if got := w.eval(t, "(function g() { return g() })()"); !strings.HasPrefix(got[0], "failed RangeError: ") {
		t.Errorf("endless recursion: %s", got)
	}
	if got := w.eval(t, "JSON.parse('['.repeat(1e5))"); !strings.HasPrefix(got[0], "failed RangeError: ") {
		t.Errorf("deep recursion in the engine: %.200s", got)
	}
}

func TestConsole(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	w.want(t, "console.log('a', 1, {b: 'c'}); console.info(); console.warn('w'); console.error(new Error('e'))", "done undefined")
	if diff := cmp.Diff([]string{`1 a 1 { b: "c" }`, "1 ", "2 w", "2 [Error: e]"}, w.printed); diff != "" {
		t.Error(diff)
	}
}

// A full arena is an error of the script that filled it; with what it held
// let go there is room again.
func TestOutOfMemory(t *testing.T) {
	w := open(t, memfs.New(), 8<<20)
	w.want(t, "var hoard = []; for (;;) hoard.push(new Array(1000).fill(hoard.length))", "failed InternalError: out of memory\n    at <eval> (<test>:1:58)")
	w.want(t, "hoard = null", "done null")
	w.want(t, "Array(1000).fill(1).length", "done 1000")
	w.checkpoint(t)
}

func TestInterrupt(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	w.Interrupt()
	if got := w.eval(t, "try { for (;;); } finally { globalThis.reached = true }"); !strings.Contains(got[0], "interrupted") {
		t.Errorf("an endless loop ended with %s", got)
	}
	// A chain of jobs has no loop to interrupt, but ends.
	if err := w.Begin(t.Context(), "(async () => { for (;;) await null })()", "<test>", "test"); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = w.Step(t.Context()); err != nil && !strings.Contains(err.Error(), "interrupted") {
			t.Fatal(err)
		}
	}
	w.Resume()
	if _, err := w.Outcome(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.want(t, "typeof reached", `done "undefined"`)
	w.checkpoint(t)
}

// Everything that lives in the heap goes on after a restart.
func TestRestart(t *testing.T) {
	fs := memfs.New()
	w := open(t, fs, 64<<20)
	w.want(t, `
		let n = 1;
		const add = () => ++n;
		const map = new Map([['k', {v: 1}]]), weak = new WeakMap([[map, 'held']]);
		const gen = (function* () { let i = 0; for (;;) yield i++ })();
		const re = /(\d+)/g; re.exec('a1b22');
		const sym = Symbol.for('s');
		class Point { #x = 3; get x() { return this.#x } }
		const point = new Point();
		let resolve;
		const pending = new Promise((r) => { resolve = r });
		let answer;
		pending.then(async (v) => { await null; answer = v });
		gen.next();
		Math.random();
		add()`, "done 2")
	w.checkpoint(t)
	next := w.eval(t, "Math.random()")
	w.close(t)

	w = open(t, fs, 64<<20)
	w.want(t, "add()", "done 3")
	w.want(t, "map.get('k').v + weak.get(map)", `done "1held"`)
	w.want(t, "gen.next().value", "done 1")
	w.want(t, "re.exec('a1b22')[0]", `done "22"`)
	w.want(t, "sym === Symbol.for('s')", "done true")
	w.want(t, "point.x", "done 3")
	w.want(t, "resolve('yes'); await pending; await null; await null; answer", `done "yes"`)
	w.want(t, "Math.random()", next...)
	w.want(t, "console.log(epoch())", "done undefined")
	if !slices.Equal(w.printed, []string{"1 1"}) {
		t.Errorf("printed %q", w.printed)
	}
}

// A checkpoint in the middle of an input is continued behind its await, with
// the value that the await would have had.
func TestRestartInTheMiddle(t *testing.T) {
	fs := memfs.New()
	w := open(t, fs, 64<<20)
	err := w.Begin(t.Context(), `
		console.log('before');
		const local = [1, 2];
		const number = await checkpoint();
		console.log('after', number, local.map((x) => x + number));
		local.length`, "<test>", "the input")
	if err != nil {
		t.Fatal(err)
	}
	for !w.Requested() {
		if _, err := w.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.checkpoint(t)
	w.close(t) // killed before the promise was fulfilled

	for range 2 { // the second time nothing has changed: the first did not checkpoint
		w = open(t, fs, 64<<20)
		if id, err := w.Unfinished(t.Context()); id != "the input" || err != nil {
			t.Fatalf("unfinished %q, %v", id, err)
		}
		w.drain(t)
		o, err := w.Outcome(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Outcome{State: Done, Text: "2", Errors: []string{}}, o); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"1 after 1 [ 2, 3 ]"}, w.printed); diff != "" {
			t.Error(diff)
		}
		w.close(t)
	}

	w = open(t, fs, 64<<20)
	w.drain(t)
	if _, err := w.Outcome(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.checkpoint(t)
	w.close(t)
	w = open(t, fs, 64<<20)
	if id, err := w.Unfinished(t.Context()); id != "" || err != nil {
		t.Errorf("unfinished %q, %v, want none", id, err)
	}
}

func TestCheckpointFails(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	err := w.Begin(t.Context(), "try { await checkpoint() } catch (e) { e.message }", "<test>", "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Settle(t.Context(), errors.New("disk full")); err != nil {
		t.Fatal(err)
	}
	w.drain(t)
	o, err := w.Outcome(t.Context())
	if err != nil || o.Text != `"disk full"` {
		t.Errorf("%+v, %v", o, err)
	}
}

// Scripts may replace every built-in; the host goes on.
func TestHostileGuest(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	w.want(t, `
		Promise.prototype.then = () => { throw 1 };
		Map.prototype.set = Map.prototype.forEach = Array.prototype.push = Array.prototype.map = () => { throw 2 };
		JSON.stringify = Reflect.apply = Object.getPrototypeOf = () => { throw 3 };
		Function.prototype.call = Function.prototype.apply = () => { throw 4 };
		globalThis.Error = globalThis.Promise = globalThis.Map = globalThis.Set = undefined;
		Array.prototype.join = () => Symbol();
		1`, "done 1")
	w.want(t, "await checkpoint()", "done 1")
	w.want(t, "throw 5", "failed Uncaught 5")
	w.want(t, "2", "done 2")
	w.want(t, "console.log(6, 7)", "done undefined")
	if !slices.Equal(w.printed, []string{"1 6 7"}) {
		t.Errorf("printed %q", w.printed)
	}
}

// What a script adds where everything inherits from is not the host's either.
func TestHostilePrototypes(t *testing.T) {
	for _, source := range []string{
		"Object.prototype.toJSON = () => 3",
		"Array.prototype.toJSON = String.prototype.toJSON = () => 'x'",
		"Object.prototype.get = Object.prototype.set = Object.prototype.value = 3",
		"Object.defineProperty(Array.prototype, '0', {set() {}, get: () => ({})})",
		"Promise.prototype.constructor = 3",
		"Object.defineProperty(Promise, Symbol.species, {get() { throw 3 }})",
		"delete globalThis.Object; delete globalThis.isNaN; delete globalThis.Function",
	} {
		t.Run(source, func(t *testing.T) {
			w := open(t, memfs.New(), 64<<20)
			w.eval(t, source)
			w.want(t, "1", "done 1")
			w.want(t, "(async () => { throw 4 })()", "done Promise { <rejected> 4 }", "Uncaught 4")
			w.want(t, "let at = checkpoint(); at.constructor = Promise; await at", "done 1")
		})
	}
}

func TestRollback(t *testing.T) {
	w := open(t, memfs.New(), 64<<20)
	w.want(t, "var n = 1", "done undefined")
	w.checkpoint(t)
	w.want(t, "n = 2; var big = new Array(1e6).fill(n); n", "done 2")
	if err := w.Rollback(t.Context(), errors.New("undone")); err != nil {
		t.Fatal(err)
	}
	w.want(t, "n + typeof big", `done "1undefined"`)
}

func TestOpenRefuses(t *testing.T) {
	fs := memfs.New()
	w := open(t, fs, 64<<20)
	w.in.Host()[0]++ // as another version would have left it
	w.checkpoint(t)
	w.close(t)
	l, err := loom.Open("/state", &loom.Options{Size: 64 << 20, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Open(t.Context(), l, Config{Module: guest(t), CacheDir: cacheDir}); !errors.Is(err, ErrBridge) {
		t.Errorf("another version: %v, want ErrBridge", err)
	}
	other := append(bytes.Clone(guest(t)), 0, 1, 0) // a custom section behind
	if _, err := Open(t.Context(), l, Config{Module: other}); !errors.Is(err, wasm.ErrMismatch) {
		t.Errorf("another module: %v, want ErrMismatch", err)
	}
}

// A cache that can not be used costs time as well.
func TestUnusableCache(t *testing.T) {
	bin := guest(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := loom.Open("/state", &loom.Options{Size: 64 << 20, FS: memfs.New()})
	if err != nil {
		t.Fatal(err)
	}
	vm, err := Open(t.Context(), l, Config{Module: bin, CacheDir: filepath.Join(file, "below")})
	if err == nil {
		err = vm.Close(t.Context())
	}
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
}

// A damaged cache of compiled modules costs time, not the store.
func TestDamagedCache(t *testing.T) {
	bin, cache := guest(t), t.TempDir()
	start := func() {
		t.Helper()
		l, err := loom.Open("/state", &loom.Options{Size: 64 << 20, FS: memfs.New()})
		if err != nil {
			t.Fatal(err)
		}
		vm, err := Open(t.Context(), l, Config{Module: bin, CacheDir: cache})
		if err != nil {
			t.Fatal(errors.Join(err, l.Close()))
		}
		if err := errors.Join(vm.Close(t.Context()), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	start()
	damaged := 0
	err := filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		damaged++
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%d files of the cache damaged: %v", damaged, err)
	}
	start()
}
