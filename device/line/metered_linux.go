package line

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"
)

// askMost is how long NetworkManager may take to answer; then it told nothing.
const askMost = time.Second

// OnMetered reports whether NetworkManager says that the network costs by the
// byte, or thinks so: a phone that shares its line, a connection that somebody
// marked. Where there is none, nothing is metered. It is asked, and not started.
func OnMetered() bool {
	ctx, cancel := context.WithTimeout(context.Background(), askMost)
	defer cancel()
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return false
	}
	defer bus.Close()
	const name = "org.freedesktop.NetworkManager"
	var v dbus.Variant
	err = bus.Object(name, "/org/freedesktop/NetworkManager").
		CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, name, "Metered").Store(&v)
	if err != nil {
		return false
	}
	// Of what it may say, unknown is 0, yes 1, no 2, and as it guesses yes 3, no 4.
	said, _ := v.Value().(uint32)
	return said == 1 || said == 3
}
