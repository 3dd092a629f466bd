package e2e

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// quota gives the one owner a limit, and says what it uses.
func (w *world) quota(more int64) {
	w.t.Helper()
	var owners []struct {
		Ring        string
		Used, Limit int64
	}
	look := func(args ...string) {
		out, err := exec.Command(programs.service, append([]string{"quota", "--data", w.data(), "--json"}, args...)...).Output()
		if err != nil {
			w.t.Fatalf("quota: %v", err)
		}
		if err := json.Unmarshal(out, &owners); err != nil || len(owners) != 1 {
			w.t.Fatalf("quota says %s: %v", out, err)
		}
	}
	look()
	look(owners[0].Ring, strconv.FormatInt(owners[0].Used+more, 10))
}

func (d *device) has(name string) bool {
	_, err := os.Lstat(filepath.Join(d.dir, name))
	return err == nil
}

// random writes a file that says nothing twice.
func (d *device) random(name string, size int) {
	d.t.Helper()
	b := make([]byte, size)
	rand.Read(b)
	d.write(name, string(b))
}
