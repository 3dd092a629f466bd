//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// tree lists a folder for people, with sizes.
func tree(dir string) (lines []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text := strings.Repeat("  ", strings.Count(name, string(os.PathSeparator))) + e.Name()
		switch {
		case e.IsDir() && e.Name() == hidden:
			lines = append(lines, text+"/")
			return fs.SkipDir
		case e.IsDir():
			lines = append(lines, text+"/")
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		lines = append(lines, pad(text, leftWidth-12)+fmt.Sprintf(" %9d", info.Size()))
		return nil
	})
	return lines, err
}

// leftWidth is that of the left of two columns.
const leftWidth = 46

// beside shows two listings side by side.
func (s *stage) beside(leftTitle string, left []string, rightTitle string, right []string) {
	left, right = append([]string{leftTitle}, left...), append([]string{rightTitle}, right...)
	for i := range max(len(left), len(right)) {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		s.note("  %s", strings.TrimRight(pad(l, leftWidth)+"| "+r, " "))
	}
}

// pad fills a text up to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// size writes a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	v := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		if v /= 1 << 10; v < 1<<10 || unit == "GiB" {
			return fmt.Sprintf("%.1f %s", v, unit)
		}
	}
	return ""
}
