package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"loomstore/aiod"

	"github.com/spf13/cobra"
)

// aiodArgs makes a program called aiod or aiod1 the daemon of ABI 2 or 1: a
// libasync client executes a bare path and can not name a command.
func aiodArgs(args []string) []string {
	switch filepath.Base(args[0]) {
	case "aiod":
		return append([]string{args[0], "aiod"}, args[1:]...)
	case "aiod1":
		return append([]string{args[0], "aiod", "--abi", "1"}, args[1:]...)
	default:
		return args
	}
}

func newAiod(s *streams) *cobra.Command {
	cfg := aiod.ServerConfig{}
	native := aiod.NativeConfig{}
	var isNative bool
	c := &cobra.Command{
		Use:   "aiod [-s] SHMFD RFD RWFD | aiod --native CONTROLFD",
		Short: "serve file operations to the process that started this one",
		Long: `aiod serves file operations over memory shared with the process that started
it: SHMFD is the shared file, RFD the end of a pipe that requests come from and
RWFD a socket for more requests and all replies. It ends with its client.

A program called aiod or aiod1 is this command with ABI 2 or 1. With
AIOD_TRACE=1 in the environment every operation is reported on stderr.`,
		Args: usageArgs(func(c *cobra.Command, args []string) error {
			want := 3
			if isNative {
				want = 1
			}
			return cobra.ExactArgs(want)(c, args)
		}),
		RunE: func(_ *cobra.Command, args []string) error {
			fds := make([]uintptr, len(args))
			for i, arg := range args {
				fd, err := strconv.ParseUint(arg, 10, 31)
				if err != nil {
					return &exitError{code: ExitUsage, err: fmt.Errorf("%q is not a descriptor", arg)}
				}
				fds[i] = uintptr(fd)
			}
			var trace io.Writer
			if os.Getenv("AIOD_TRACE") == "1" {
				trace = s.err
			}
			if isNative {
				native.Control = fds[0]
				if native.Workers < 1 {
					return &exitError{code: ExitUsage, err: errors.New("--workers must be at least 1")}
				}
				native.Trace = trace
				return aiod.ServeNative(&native)
			}
			if cfg.ABI != aiod.ABI1 && cfg.ABI != aiod.ABI2 {
				return &exitError{code: ExitUsage, err: fmt.Errorf("no ABI %d", cfg.ABI), hint: "--abi is 1 or 2"}
			}
			cfg.SHM, cfg.Requests, cfg.Replies = fds[0], fds[1], fds[2]
			cfg.Trace = trace
			return aiod.Serve(&cfg)
		},
	}
	f := c.Flags()
	f.BoolVarP(&cfg.Single, "single", "s", false, "no other daemon reads the pipe")
	f.IntVar((*int)(&cfg.ABI), "abi", int(aiod.ABI2), "wire format, 1 or 2")
	f.BoolVar(&isNative, "native", false, "speak the native mode, over a control socket")
	f.IntVar(&native.Workers, "workers", 4, "native: requests carried out at once")
	return c
}
