package cli

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsWhatTheBuildWasStampedWith(t *testing.T) {
	stamped := func(module string, settings ...string) *debug.BuildInfo {
		i := &debug.BuildInfo{Main: debug.Module{Path: "signet", Version: module}}
		for k := 0; k < len(settings); k += 2 {
			i.Settings = append(i.Settings, debug.BuildSetting{Key: settings[k], Value: settings[k+1]})
		}
		return i
	}
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, c := range []struct {
		info *debug.BuildInfo
		ok   bool
		want build
	}{
		{nil, false, build{Version: "devel"}},
		{stamped("(devel)"), true, build{Version: "devel"}},
		{stamped("v1.2.3", "vcs.revision", commit, "vcs.time", "2026-09-12T16:30:00Z", "vcs.modified", "false"), true,
			build{Version: "v1.2.3", Revision: commit, Time: "2026-09-12T16:30:00Z"}},
		{stamped("(devel)", "vcs.revision", commit, "vcs.modified", "true"), true,
			build{Version: "devel-0123456789ab+dirty", Revision: commit, Modified: true}},
		{stamped("", "vcs.revision", commit), true, build{Version: "devel-0123456789ab", Revision: commit}},
	} {
		got := built(c.info, c.ok)
		if got.Go == "" || got.System == "" {
			t.Errorf("%+v", got)
		}
		if got.Go, got.System = "", ""; got != c.want {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
	if Version == "" || Version == "dev" {
		t.Errorf("this program is version %q", Version)
	}
}
