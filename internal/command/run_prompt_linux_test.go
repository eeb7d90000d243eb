package command

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal and what a process has shown on it.
type terminal struct {
	t      *testing.T
	master *os.File
	shown  []byte // what no expect has passed yet
}

// startOnTerminal starts c with a pseudo-terminal as its controlling one.
func startOnTerminal(t *testing.T, c *exec.Cmd) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal, the prompt was not tested: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 200}); err != nil {
		t.Fatal(err)
	}
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return &terminal{t: t, master: master}
}

func (m *terminal) send(keys string) {
	m.t.Helper()
	if _, err := m.master.WriteString(keys); err != nil {
		m.t.Fatal(err)
	}
}

// expect reads until text has been shown, and passes it.
func (m *terminal) expect(text string) {
	m.t.Helper()
	buf := make([]byte, 4096)
	for {
		if i := bytes.Index(m.shown, []byte(text)); i >= 0 {
			m.shown = m.shown[i+len(text):]
			return
		}
		n, err := m.master.Read(buf)
		if err != nil {
			m.t.Fatalf("waiting for %q: %v; shown: %q", text, err, m.shown)
		}
		m.shown = append(m.shown, buf[:n]...)
	}
}

func TestPrompt(t *testing.T) {
	cache, dir := t.TempDir(), filepath.Join(t.TempDir(), "state")
	c := loomctl(t, cache, "run", "--size", "64M", dir)
	m := startOnTerminal(t, c)
	defer c.Process.Kill()

	m.expect("at epoch 0; Ctrl-C interrupts, Ctrl-D ends")
	m.expect("> ")
	m.send("var n = 41; n\r")
	m.expect("\r\n41\r\n> ")
	// An open bracket goes on in the next line.
	m.send("(n +\r")
	m.expect("… ")
	m.send("1)\r")
	m.expect("\r\n42\r\n> ")
	// History: two lines back.
	m.send("n++\r")
	m.expect("\r\n41\r\n> ")
	m.send("n\r")
	m.expect("\r\n42\r\n> ")
	m.send("\x1b[A\x1b[A\r")
	m.expect("\r\n42\r\n> ")
	m.send("n\r")
	m.expect("\r\n43\r\n> ")
	// An error does not end the run.
	m.send("throw new Error('typed')\r")
	m.expect("Error: typed")
	m.expect("> ")
	// Ctrl-C forgets what is typed, with the lines before.
	m.send("[1,\r")
	m.expect("… ")
	m.send("n = 'not entered'\x03")
	m.expect("> ")
	m.send("n\r")
	m.expect("\r\n43\r\n> ")
	// Ctrl-C ends an endless loop; what was before it is kept.
	m.send("n = 44; console.log('run' + 'ning'); await checkpoint(); for (;;);\r")
	m.expect("running")
	m.send("\x03")
	m.expect("interrupted")
	m.expect("> ")
	// And an endless sequence of awaits.
	m.send("console.log('wait' + 'ing'); for (;;) await checkpoint()\r")
	m.expect("waiting")
	m.send("\x03")
	m.expect("interrupted")
	m.expect("> ")
	m.send("n\r")
	m.expect("\r\n44\r\n> ")
	m.send("\x04")
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}

	again := loomctl(t, cache, "run", "--size", "64M", dir)
	again.Stdin = strings.NewReader("n\n")
	if out, err := again.Output(); err != nil || string(out) != "44\n" {
		t.Errorf("next run: %q, %v", out, err)
	}
}
