package home

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"signet"
)

func TestHomeIsFoundByFlagThenEnvironmentThenPlatform(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	if d, _ := Find("/flag", env(map[string]string{"SIGNET_HOME": "/env"})); d != "/flag" {
		t.Errorf("flag: %s", d)
	}
	if d, _ := Find("", env(map[string]string{"SIGNET_HOME": "/env"})); d != "/env" {
		t.Errorf("environment: %s", d)
	}
	if d, _ := Find("x", os.Getenv); !filepath.IsAbs(string(d)) {
		t.Errorf("relative flag: %s", d)
	}
	for _, c := range []struct {
		system, want string
		env          map[string]string
	}{
		{"linux", "/s/signet", map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/h"}},
		{"linux", "/h/.local/state/signet", map[string]string{"XDG_STATE_HOME": "s", "HOME": "/h"}},
		{"darwin", "/h/Library/Application Support/Signet", map[string]string{"HOME": "/h"}},
		{"windows", "/l/Signet", map[string]string{"LocalAppData": "/l"}},
		{"linux", "", nil}, {"darwin", "", nil}, {"windows", "", nil},
	} {
		if d, err := platform(c.system, env(c.env)); d != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s %v: %q, %v", c.system, c.env, d, err)
		}
	}
}

func TestHomeThatOthersMayWriteInIsRefused(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "a", "b"))
	if d.Exists() || !errors.Is(d.Check(), fs.ErrNotExist) {
		t.Error("a home that was not made exists")
	}
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	if err := d.Make(); err != nil {
		t.Errorf("second Make: %v", err)
	}
	for mode, ok := range map[os.FileMode]bool{0o755: true, 0o770: false, 0o702: false} {
		os.Chmod(string(d), mode)
		if err := d.Check(); (err == nil) != ok {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	os.Chmod(string(d), 0o777)
	if err := d.Make(); err != nil {
		t.Errorf("an empty folder is not taken: %v", err)
	}
	if info, _ := os.Stat(string(d)); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestLockHasOneHolderAndTheNextWaits(t *testing.T) {
	d := Dir(t.TempDir())
	first, err := d.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.TryLock(); !errors.Is(err, ErrHeld) {
		t.Errorf("second lock: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := d.Lock(ctx); !errors.Is(err, ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting in vain: %v", err)
	}
	got := make(chan error)
	go func() {
		l, err := d.Lock(t.Context())
		if err == nil {
			err = l.Unlock()
		}
		got <- err
	}()
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("waiting for the lock: %v", err)
	}
}

func TestOrganisationsAreListed(t *testing.T) {
	d := Dir(t.TempDir())
	if l, err := d.Organisations(); err != nil || len(l) != 0 {
		t.Errorf("none: %v, %v", l, err)
	}
	o := signet.OrgID{7}
	os.MkdirAll(d.Organisation(o), 0o700)
	os.MkdirAll(filepath.Join(string(d), "organisations", "lost"), 0o700)
	if l, err := d.Organisations(); err != nil || len(l) != 1 || l[0] != o {
		t.Errorf("one: %v, %v", l, err)
	}
}
