// Package manual writes what people and shells look up of a program: manual pages
// and completion scripts, both made from its commands.
//
// It promises that pages of one version are equal whenever they are made, and that
// each says what the program's exit codes mean. It does not install anything.
package manual

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// An Exit is an exit code and what it says.
type Exit struct {
	Code int
	Says string
}

// Write writes a page for root and for each command below it that is shown to people
// into a folder, which it makes: man-pages(7), section 1.
func Write(root *cobra.Command, version, folder string, exits []Exit) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	root.DisableAutoGenTag = true
	return write(root, version, folder, exits)
}

func write(c *cobra.Command, version, folder string, exits []Exit) error {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			if err := write(sub, version, folder, exits); err != nil {
				return err
			}
		}
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	var page bytes.Buffer
	header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: c.Root().Name() + " " + version, Manual: "Signet"}
	if err := doc.GenMan(c, header, &page); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name+".1"), withExits(page.Bytes(), exits), 0o644)
}

// withExits puts the section on exit codes where man-pages(7) wants it: before the
// one that points elsewhere, which is the last if there is one.
func withExits(page []byte, exits []Exit) []byte {
	var b bytes.Buffer
	b.WriteString(".SH EXIT STATUS\n")
	for _, e := range exits {
		fmt.Fprintf(&b, ".TP\n\\fB%d\\fP\n%s\n", e.Code, e.Says)
	}
	at := bytes.Index(page, []byte(".SH SEE ALSO"))
	if at < 0 {
		at = len(page)
	}
	return slices.Concat(page[:at], b.Bytes(), []byte("\n"), page[at:])
}

// completions makes a script for each shell.
var completions = map[string]func(*cobra.Command, io.Writer) error{
	"bash":       func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
	"fish":       func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
	"powershell": func(c *cobra.Command, w io.Writer) error { return c.GenPowerShellCompletionWithDesc(w) },
	"zsh":        func(c *cobra.Command, w io.Writer) error { return c.GenZshCompletion(w) },
}

// Shells are those that Complete knows.
func Shells() []string { return []string{"bash", "fish", "powershell", "zsh"} }

// Complete writes the completion script of a shell; ok is false where it is none of
// Shells.
func Complete(root *cobra.Command, shell string, w io.Writer) (ok bool, err error) {
	write, ok := completions[shell]
	if !ok {
		return false, nil
	}
	return true, write(root, w)
}
