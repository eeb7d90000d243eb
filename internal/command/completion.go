package command

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// shells are what completion can write scripts for.
var shells = []struct {
	name  string
	write func(root *cobra.Command, w io.Writer) error
}{
	{"bash", func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
	{"fish", func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }},
	{"powershell", func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) }},
	{"zsh", func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) }},
}

// completionDocument is the document of `completion --json`
// (docs/cli-json.md).
type completionDocument struct {
	Schema int    `json:"schema"`
	Shell  string `json:"shell"`
	Script string `json:"script"`
}

func newCompletion(s *streams) *cobra.Command {
	var names []string
	for _, sh := range shells {
		names = append(names, sh.name)
	}
	var asJSON bool
	c := &cobra.Command{
		Use:   "completion " + strings.Join(names, "|"),
		Short: "print the completion script of a shell",
		Long: `Print the script that completes loomctl's commands and flags in a shell.

  bash:  source <(loomctl completion bash)
  zsh:   loomctl completion zsh > "${fpath[1]}/_loomctl"
  fish:  loomctl completion fish > ~/.config/fish/completions/loomctl.fish`,
		ValidArgs: names,
		Args:      usageArgs(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(c *cobra.Command, args []string) error {
			var script bytes.Buffer
			for _, sh := range shells {
				if sh.name == args[0] {
					if err := sh.write(c.Root(), &script); err != nil {
						return fmt.Errorf("write the script for %s: %w", sh.name, err)
					}
				}
			}
			if asJSON {
				return s.document(completionDocument{Schema: schema, Shell: args[0], Script: script.String()})
			}
			_, err := script.WriteTo(s.out)
			return err
		},
	}
	addJSON(c, &asJSON)
	return c
}
