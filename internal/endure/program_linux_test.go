package endure

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"loomstore/internal/vfs"
	"loomstore/internal/vfs/errorfs"
	"loomstore/loom"
)

// programVariable makes the test binary the program that is killed.
const programVariable = "LOOM_ENDURE_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(programVariable) {
	case "":
		os.Exit(m.Run())
	case "checkpoints":
		if err := checkpoints(parsePlan(os.Getenv("LOOM_ENDURE_PLAN"))); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	default:
		if err := others[os.Getenv(programVariable)](os.Getenv("LOOM_ENDURE_PLAN")); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
}

// others are the programs of the other tests, by name.
var others = map[string]func(argument string) error{}

// program is this test binary as another program.
func program(name, argument string) *exec.Cmd {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), programVariable+"="+name, "LOOM_ENDURE_PLAN="+argument, "GORACE=atexit_sleep_ms=0")
	return c
}

// plan is what the program does with its store.
type plan struct {
	dir   string
	seed  uint64
	die   int64 // at which operation on the file system; 0 never
	count int   // checkpoints until it closes the store
	async bool
}

func (p plan) String() string {
	return fmt.Sprintf("%d %d %d %t %s", p.seed, p.die, p.count, p.async, p.dir)
}

func parsePlan(s string) (p plan) {
	if _, err := fmt.Sscanf(s, "%d %d %d %t %s", &p.seed, &p.die, &p.count, &p.async, &p.dir); err != nil {
		panic(err)
	}
	return p
}

// dying kills the process before its nth operation.
type dying struct{ left atomic.Int64 }

func (d *dying) Inject(errorfs.Op) *errorfs.Fault {
	if d.left.Add(-1) == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return nil
}

// checkpoints is the program: it opens its store, checks every byte of it, says
// which epoch it found and how, and then takes checkpoints and says so. Each line is
// one write, so that what the parent has read was said.
func checkpoints(p plan) error {
	o := &loom.Options{Size: arena, VerifyFull: true, PatchKeep: 1 << 20}
	if p.die > 0 {
		d := new(dying)
		d.left.Store(p.die)
		o.FS = errorfs.New(vfs.OS, d)
	}
	l, err := loom.Open(p.dir, o)
	if err != nil {
		return err
	}
	s := schedule{p.seed}
	epoch := l.Epoch()
	mem := l.Bytes()
	if err := s.check(epoch, l.Report().Pages, func(n int) ([]byte, error) { return mem[n*pageSize : (n+1)*pageSize], nil }); err != nil {
		return err
	}
	if app := l.AppRecord(); epoch > 0 && (len(app) != 8 || binary.LittleEndian.Uint64(app) != epoch) {
		return fmt.Errorf("application record %x at epoch %d", app, epoch)
	}
	fmt.Println(epoch, l.Report().Action)
	advance := func() error {
		epoch++
		if err := l.SetWatermarks(int64(s.pages(epoch)*pageSize), arena); err != nil {
			return err
		}
		s.advance(mem, epoch)
		return l.SetAppRecord(binary.LittleEndian.AppendUint64(nil, epoch))
	}
	ctx := context.Background()
	for range p.count {
		if err := advance(); err != nil {
			return err
		}
		if p.async {
			pending, err := l.CheckpointAsync(ctx)
			if err != nil {
				return err
			}
			s.fill(mem[arena-pageSize:], epoch, 0) // goes on, in its scratch
			if err := pending.Wait(ctx); err != nil {
				return err
			}
		} else if _, err := l.Checkpoint(ctx); err != nil {
			return err
		}
		fmt.Println(epoch)
	}
	return l.Close()
}
