//go:build linux

package keystore

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inside says that a test runs in a D-Bus session that the test itself began.
const inside = "SIGNET_TEST_SECRET_SERVICE"

// TestKeyringKeepsTheKeyOfAFileAndForgetsIt with each keyring that there is:
// one in memory, and a Secret Service of its own in a D-Bus session of its own,
// where this test runs again. That one needs dbus and gnome-keyring, which
// scripts/deps installs; with SIGNET_TEST_ALL it has to be there.
func TestKeyringKeepsTheKeyOfAFileAndForgetsIt(t *testing.T) {
	if os.Getenv(inside) != "" {
		keepsAndForgets(t)
		return
	}
	keyrings := map[string]func(*testing.T){
		"in memory": func(t *testing.T) { withMock(t); keepsAndForgets(t) },
	}
	_, noBus := exec.LookPath("dbus-run-session")
	_, noKeyring := exec.LookPath("gnome-keyring-daemon")
	if noBus == nil && noKeyring == nil || os.Getenv("SIGNET_TEST_ALL") != "" {
		keyrings["Secret Service"] = inSession
	}
	for name, test := range keyrings {
		t.Run(name, test)
	}
}

// inSession runs the test again in a session with a Secret Service.
func inSession(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	runtimeDir := filepath.Join(home, "run")
	if err := os.Mkdir(runtimeDir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := `printf 'a test' | gnome-keyring-daemon --unlock --components=secrets >/dev/null && ` +
		`exec "$0" -test.run='^TestKeyringKeepsTheKeyOfAFileAndForgetsIt$' -test.v`
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c", script, self)
	cmd.Env = append(os.Environ(), inside+"=1", "HOME="+home, "XDG_DATA_HOME="+home, "XDG_RUNTIME_DIR="+runtimeDir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestKeyringKeepsTheKeyOfAFileAndForgetsIt") {
		t.Fatalf("%v: scripts/deps installs what this needs\n%s", err, out)
	}
}

func keepsAndForgets(t *testing.T) {
	path, k := create(t, Must)
	got, err := Load(path, org)
	if err != nil {
		t.Fatal(err)
	}
	same(t, k, got)
	if got.Where() != Keyring {
		t.Errorf("keys rest in %s", got.Where())
	}
	entry := decodeFile(t, path).entry
	if err := Delete(path); err != nil {
		t.Fatal(err)
	}
	if _, err := entrySecret(entry); err == nil {
		t.Error("the entry is still there")
	}
}
