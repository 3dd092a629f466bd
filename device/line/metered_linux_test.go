package line

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"
)

// manager answers as NetworkManager does when it is asked for a property.
type manager struct{ metered atomic.Uint32 }

func (m *manager) Get(of, name string) (dbus.Variant, *dbus.Error) {
	if of != "org.freedesktop.NetworkManager" || name != "Metered" {
		return dbus.Variant{}, dbus.MakeFailedError(os.ErrInvalid)
	}
	return dbus.MakeVariant(m.metered.Load()), nil
}

// On a bus of its own, where that can be had (scripts/deps installs dbus; with
// SIGNET_TEST_ALL it has to be there).
func TestANetworkIsMeteredWhereItsManagerSaysSo(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	if OnMetered() {
		t.Error("a system without a bus has a metered network")
	}
	if _, err := exec.LookPath("dbus-daemon"); err != nil && os.Getenv("SIGNET_TEST_ALL") == "" {
		return
	}
	daemon := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address=1")
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", strings.TrimSpace(address))
	if OnMetered() {
		t.Error("a system without NetworkManager has a metered network")
	}
	bus, err := dbus.Connect(strings.TrimSpace(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	m := &manager{}
	if err := bus.Export(m, "/org/freedesktop/NetworkManager", "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if r, err := bus.RequestName("org.freedesktop.NetworkManager", dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	for said, want := range []bool{false, true, false, true, false} {
		if m.metered.Store(uint32(said)); OnMetered() != want {
			t.Errorf("what NetworkManager says with %d is taken for %t", said, !want)
		}
	}
}
