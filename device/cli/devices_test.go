package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDeviceListSaysWhenEachWasLastSeen(t *testing.T) {
	_, invite := serve(t)
	one, two := newMachine(t), newMachine(t)
	one.ok("login", invite("alice"), "--yes", "--device", "desktop")
	one.link(func(e event) run { return two.with(e.URL+"\n", nil, "login", "-", "--device", "laptop", "--yes") })
	one.ok("recovery", "new", "--to", filepath.Join(t.TempDir(), "kit.txt"))
	type device struct {
		Name, Added, State string
		Seen               *string `json:"last_seen"`
	}
	list := func(m machine) map[string]device {
		t.Helper()
		var all []device
		if err := json.Unmarshal([]byte(m.ok("device", "list", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		by := map[string]device{}
		for _, d := range all {
			if d.State == "recovery" {
				d.Name = "kit"
			}
			if d.Seen == nil {
				d.Seen = new(string)
			} else if len(*d.Seen) != len("2006-01-02T15:04:05.000000000Z") {
				t.Errorf("%s was seen at %s", d.Name, *d.Seen)
			}
			by[d.Name] = d
		}
		return by
	}
	// By the directory: what it added, and that it joined.
	l := list(two)
	if *l["desktop"].Seen != l["kit"].Added || *l["laptop"].Seen != l["laptop"].Added || *l["kit"].Seen != "" {
		t.Errorf("%+v", l)
	}
	// By the entries of what both follow.
	docs, copied := t.TempDir(), t.TempDir()
	one.ok("add", docs, "--region", "docs")
	if err := os.WriteFile(filepath.Join(docs, "f"), []byte("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	one.ok("sync")
	var made struct{ Time string }
	line, _, _ := strings.Cut(one.ok("history", filepath.Join(docs, "f"), "--json"), "\n")
	if err := json.Unmarshal([]byte(line), &made); err != nil {
		t.Fatal(err)
	}
	if before := list(two); *before["desktop"].Seen != *l["desktop"].Seen {
		t.Errorf("%s is told of what the device does not follow", *before["desktop"].Seen)
	}
	two.ok("add", copied, "--region", "docs")
	two.ok("sync")
	if l = list(two); *l["desktop"].Seen < made.Time || *l["desktop"].Seen != *list(one)["desktop"].Seen || *l["kit"].Seen != "" {
		t.Errorf("wrote at %s: %+v", made.Time, l)
	}
}
