package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// installedGuest is where npm puts the engine, below the directory that holds
// guest/package.json.
const installedGuest = "guest/node_modules/quickjs-wasi/quickjs.wasm"

// readGuest reads the JavaScript engine: from path, else from $LOOM_GUEST, else
// from where npm ci --prefix guest installs it below the working directory, the
// executable's directory or its parent.
func readGuest(path string) ([]byte, error) {
	if path == "" {
		path = os.Getenv("LOOM_GUEST")
	}
	candidates := []string{path}
	if path == "" {
		candidates = guestCandidates()
	}
	for _, c := range candidates {
		b, err := os.ReadFile(c)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read guest: %w", err)
		}
	}
	return nil, &exitError{
		code: ExitFailure,
		err:  fmt.Errorf("the JavaScript guest is not installed: no file %s", candidates[0]),
		hint: "npm ci --prefix guest --ignore-scripts",
	}
}

func guestCandidates() []string {
	files := []string{installedGuest}
	if exe, err := os.Executable(); err == nil {
		dir := filepath.Dir(exe)
		files = append(files, filepath.Join(dir, installedGuest), filepath.Join(filepath.Dir(dir), installedGuest))
	}
	return files
}

// moduleCache returns the directory that keeps compiled modules between runs,
// "" if there can be none: then every start compiles for a moment.
func moduleCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "loomctl")
	if os.MkdirAll(dir, 0o700) != nil {
		return ""
	}
	return dir
}
