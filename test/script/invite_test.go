//go:build linux

package script

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"signet/core/key"
	"signet/core/ring"
	"signet/service"
)

// invitedCmd makes an invitation as signet-server did so many days ago: the
// program itself has no other clock than the machine's.
func invitedCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, 3, "invited DAYS NAME VARIABLE")
	days, err := strconv.Atoi(args[0])
	ts.Check(err)
	dir := filepath.Join(storyOf(ts).work, "service")
	log, connector := serviceKey(ts, dir, "log-key"), serviceKey(ts, dir, "connector.key")
	v := service.Inviter{Data: dir, LogKey: log.Public(), Connector: connector,
		Device: &ring.Device{Class: ring.Connector, Where: ring.InFile, Sign: connector.Public()},
		Clock:  func() time.Time { return time.Now().AddDate(0, 0, -days) }}
	i, err := v.Invite(args[1])
	ts.Check(err)
	ts.Setenv(args[2], i.URL)
}

// serviceKey reads a private key of the service.
func serviceKey(ts *testscript.TestScript, dir, name string) *key.Private {
	b, err := os.ReadFile(filepath.Join(dir, name))
	ts.Check(err)
	lines := strings.Fields(string(b))
	seed, err := base64.StdEncoding.DecodeString(lines[len(lines)-1])
	ts.Check(err)
	k, err := key.FromSeed([key.SeedSize]byte(seed))
	ts.Check(err)
	return k
}
