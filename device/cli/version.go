package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version is what the build says of itself: it is stamped by the go command,
// from the module or the commit, so that equal sources make equal programs.
var Version = built(debug.ReadBuildInfo()).Version

// A build is what `version` prints.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // the commit; "" where it was not stamped
	Time     string `json:"time"`     // of the commit, RFC 3339
	Modified bool   `json:"modified"` // the sources were not that commit's
	Go       string `json:"go"`
	System   string `json:"system"`
}

// built reads what the go command stamped: the module's version, else the
// commit, else that nothing is known.
func built(info *debug.BuildInfo, ok bool) build {
	b := build{Version: "devel", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	switch v := info.Main.Version; {
	case v != "" && v != "(devel)":
		b.Version = v
	case len(b.Revision) >= 12:
		if b.Version = "devel-" + b.Revision[:12]; b.Modified {
			b.Version += "+dirty"
		}
	}
	return b
}

func (a *app) version() error {
	b := built(debug.ReadBuildInfo())
	if a.json {
		return writeJSON(a.stdout, b)
	}
	words := []string{"signet", b.Version}
	for _, w := range []string{b.Revision, b.Time, b.Go, b.System} {
		if w != "" {
			words = append(words, w)
		}
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(words, " "))
	return err
}
