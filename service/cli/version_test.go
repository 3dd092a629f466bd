package cli

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsWhatTheBuildWasStampedWith(t *testing.T) {
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3":                   {Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{commit}},
		"devel":                    {Main: debug.Module{Version: "(devel)"}},
		"devel-0123456789ab":       {Settings: []debug.BuildSetting{commit}},
		"devel-0123456789ab+dirty": {Settings: []debug.BuildSetting{commit, {Key: "vcs.modified", Value: "true"}}},
	} {
		if got := built(&info, true); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := built(nil, false); got != "devel" {
		t.Errorf("without a stamp: %s", got)
	}
}
