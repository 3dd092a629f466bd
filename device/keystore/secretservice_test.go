//go:build linux

package keystore

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealSecretService keeps keys in a Secret Service of its own, on a D-Bus
// session of its own: this test runs itself again inside it. Packages: dbus,
// gnome-keyring.
func TestRealSecretService(t *testing.T) {
	if os.Getenv("SIGNET_TEST_SECRET_SERVICE") != "" {
		realSecretService(t)
		return
	}
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("SIGNET_TEST_ALL") != "" {
				t.Fatalf("%v: install dbus and gnome-keyring", err)
			}
			t.Skipf("%v: `make test` installs it", err)
		}
	}
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
		`exec "$0" -test.run='^TestRealSecretService$' -test.v`
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c", script, self)
	cmd.Env = append(os.Environ(), "SIGNET_TEST_SECRET_SERVICE=1", "HOME="+home, "XDG_DATA_HOME="+home, "XDG_RUNTIME_DIR="+runtimeDir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestRealSecretService") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func realSecretService(t *testing.T) {
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
