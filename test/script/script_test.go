//go:build linux

package script

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	device "signet/device/cli"
	service "signet/service/cli"
)

// TestMain is the two programs where a script runs them.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"signet": func() {
			become()
			os.Exit(device.Main())
		},
		"signet-server": func() {
			syscall.Setsid()
			os.Exit(service.Main())
		},
	})
}

// become takes the terminal away from a program, unless a script gave it one
// (then it leads a session already), and makes it another user's where the
// script says so.
func become() {
	syscall.Setsid()
	if id, err := strconv.Atoi(os.Getenv("SCRIPT_UID")); err == nil {
		if err := syscall.Setgroups(nil); err != nil {
			panic(err)
		}
		if err := syscall.Setgid(id); err != nil {
			panic(err)
		}
		if err := syscall.Setuid(id); err != nil {
			panic(err)
		}
	}
}

// stories runs those of files; nil: all.
func stories(t *testing.T, files []string) {
	t.Helper()
	// Other users may look into the folders of scripts: some are other users'.
	root, err := os.MkdirTemp("", "signet-stories-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := "testdata"
	if files != nil {
		dir = ""
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Files:               files,
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"abandon": abandonCmd,
			"service": serviceCmd,
			"portal":  portalCmd,
			"code":    codeCmd,
			"spawn":   spawnCmd,
			"signal":  signalCmd,
			"ended":   endedCmd,
			"await":   awaitCmd,
			"line":    lineCmd,
			"word":    wordCmd,
			"json":    jsonCmd,
			"keys":    keysCmd,
			"fault":   faultCmd,
			"same":    sameCmd,
			"sqlite":  sqliteCmd,
			"poke":    pokeCmd,
			"mkname":  mknameCmd,
			"files":   filesCmd,
			"small":   smallCmd,
			"as":      asCmd,
			"link":    linkCmd,
			"write":   writeCmd,
			"winner":  winnerCmd,
			"invited": invitedCmd,
			"certify": certifyCmd,
		},
	})
}

func setup(env *testscript.Env) error {
	s := &story{work: env.WorkDir, spawned: map[string]*child{}}
	env.Values[storyKey{}] = s
	env.Setenv("HOME", filepath.Join(env.WorkDir, "person"))
	env.Setenv("XDG_STATE_HOME", "")
	env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
	env.Setenv("SIGNET_KEYRING", "off")
	env.Setenv("SIGNET_HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("TZ", "UTC")
	// Under the race detector a program waits a second at its end for races that are
	// still to come: with 600 commands, a quarter of an hour.
	env.Setenv("GORACE", "atexit_sleep_ms=20")
	env.Defer(func() { s.end(env.T()) })
	return nil
}

// condition answers [root] and [mount]: may this user be others, and mount.
func condition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Getuid() == 0, nil
	case "mount":
		return canMount(), nil
	}
	return false, &os.PathError{Op: "condition", Path: cond, Err: os.ErrNotExist}
}
