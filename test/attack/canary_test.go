package attack

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signet"
	"signet/core/region"
	"signet/core/ring"
)

// forms are the spellings under which a secret may lie about.
func forms(secret []byte) map[string][]byte {
	f := map[string][]byte{
		"raw": secret, "hex": []byte(hex.EncodeToString(secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(secret))),
		"base32": []byte(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret[:len(secret)/5*5]))),
	}
	// Inside a longer base64 text it has three spellings, without its first and
	// last characters.
	for skip := range 3 {
		padded := append(make([]byte, skip), secret...)
		for name, e := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			text := e.EncodeToString(padded)
			f[name+" "+string(rune('0'+skip))] = []byte(text[4 : len(text)-4])
		}
	}
	return f
}

// found lists the spellings of a secret in some bytes.
func found(in, secret []byte) (list []string) {
	for name, f := range forms(secret) {
		if bytes.Contains(in, f) {
			list = append(list, name)
		}
	}
	return list
}

// foundBelow searches all files below a folder, and their names.
func foundBelow(t *testing.T, dir string, secret []byte, except string) (list []string) {
	t.Helper()
	for _, name := range glob(t, dir) {
		if name == except {
			continue
		}
		if x := found(readFile(t, name), secret); len(x) > 0 {
			list = append(list, name+": "+strings.Join(x, ", "))
		}
	}
	filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); strings.Contains(rel, string(secret)) {
			list = append(list, "the name "+rel)
		}
		return err
	})
	return list
}

func TestSearchFindsEverySpelling(t *testing.T) {
	secret := randomBytes(32)
	around := func(b []byte) []byte { return append(append(randomBytes(100), b...), randomBytes(100)...) }
	for name, in := range map[string][]byte{
		"raw": around(secret), "hex": []byte(hex.EncodeToString(around(secret))),
		"base64 0": []byte(base64.StdEncoding.EncodeToString(append(make([]byte, 99), around(secret)[100:]...))),
		"base64 1": []byte(base64.StdEncoding.EncodeToString(around(secret))),
		"base64 2": []byte(base64.StdEncoding.EncodeToString(append([]byte{1}, around(secret)...))),
	} {
		if len(found(in, secret)) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	if x := found(randomBytes(1<<20), secret); len(x) > 0 {
		t.Errorf("found in noise: %v", x)
	}
}

// TestServiceHoldsNoPlaintextAndNoKey lives through a device's life with a name
// that is nowhere else in everything that a person can name, then searches what
// the service has, and an export.
func TestServiceHoldsNoPlaintextAndNoKey(t *testing.T) {
	for name, plain := range map[string]bool{"listened to": true, "TLS": false} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !plain {
				return // the other one sees more
			}
			canary := map[string]string{}
			for _, of := range []string{"content", "edited", "late", "file", "renamed", "folder", "link", "device", "other device", "region"} {
				canary[of] = "canary-" + hex.EncodeToString(randomBytes(12))
			}
			w := start(t, plain, true)
			a, b := w.device(canary["device"]), w.device("plain name")
			id := liveThrough(t, w, a, b, canary)
			export := filepath.Join(t.TempDir(), "export")
			if f := a.run(t, "export", canary["region"], "--to", export, "--place", "bank"); f.code != 0 {
				t.Fatalf("export: exit %d: %s", f.code, f.Message)
			}

			secrets := map[string][]byte{}
			for of, c := range canary {
				secrets["canary in "+of] = []byte(c)
			}
			keys := map[string][]byte{}
			for _, d := range []*device{a, b} {
				file := readFile(t, d.home.KeyFile(w.org))
				payload := file[len(file)-32-96 : len(file)-32] // signing seed, encryption seed, secret
				for i, part := range []string{"signing seed", "encryption seed", "device secret"} {
					keys[d.name+": "+part] = payload[32*i : 32*i+32]
				}
				for g, s := range d.regionSeeds(t, id) {
					keys[d.name+": region seed "+string(rune('0'+g))] = s.Bytes()
				}
				d.Engine.Directory(func(_ *ring.State, k *region.Keys) {
					for g := signet.Generation(1); g <= k.Newest(); g++ {
						keys[d.name+": ring seed "+string(rune('0'+g))] = k.Seed(g).Bytes()
					}
					keys[d.name+": ring secret"] = k.Secret().Bytes()
				})
				d.Engine.WithRegion(id, func(r *region.Region) error {
					keys[d.name+": region secret"] = r.Secret().Bytes()
					return nil
				})
			}
			service := func(secret []byte) []string {
				list := append(foundBelow(t, w.config.Data, secret, ""), foundBelow(t, export, secret, "")...)
				for where, b := range map[string][]byte{"log": w.log.bytes(), "traffic": w.traffic.bytes()} {
					for _, f := range found(b, secret) {
						list = append(list, where+": "+f)
					}
				}
				return list
			}
			// The search finds what is there.
			if len(foundBelow(t, w.config.Data, a.Self.Signer.Public().Bytes()[:32], "")) == 0 {
				t.Error("not even a public key is found in the service's data")
			}
			if len(foundBelow(t, export, a.Self.Signer.Public().Bytes()[:32], "")) == 0 {
				t.Error("not even a public key is found in the export")
			}
			if plain && len(found(w.traffic.bytes(), a.Self.Signer.Public().Bytes()[:32])) == 0 {
				t.Error("not even a public key is found in the traffic")
			}
			if len(w.traffic.bytes()) < 100_000 || !bytes.Contains(w.log.bytes(), []byte(a.Self.Device.String())) && len(w.log.bytes()) < 1000 {
				t.Errorf("recorded: %d bytes of traffic, %d of logs", len(w.traffic.bytes()), len(w.log.bytes()))
			}
			for _, of := range []string{"edited", "renamed", "folder"} {
				if len(foundBelow(t, a.dir, []byte(canary[of]), "")) == 0 {
					t.Errorf("the search does not find %s in the device's own folder", of)
				}
			}
			for what, secret := range secrets {
				if list := service(secret); len(list) > 0 {
					t.Errorf("%s: %v", what, list)
				}
			}
			for what, secret := range keys {
				if list := service(secret); len(list) > 0 {
					t.Errorf("the service has the %s: %v", what, list)
				}
				for _, d := range []*device{a, b} {
					if list := foundBelow(t, d.dir, secret, ""); len(list) > 0 {
						t.Errorf("the volume has the %s: %v", what, list)
					}
					if list := foundBelow(t, string(d.home), secret, d.home.KeyFile(w.org)); len(list) > 0 {
						t.Errorf("the home has the %s beside the key file: %v", what, list)
					}
				}
				if strings.HasSuffix(what, "signing seed") {
					if len(foundBelow(t, string(a.home), secret, ""))+len(foundBelow(t, string(b.home), secret, "")) == 0 {
						t.Errorf("the search does not find the %s in the key file", what)
					}
				}
			}
		})
	}
}

// liveThrough does what people do, with canaries for names and contents:
// synch, edit, rename, history, restore, a name for a device, a removal, a
// crash.
func liveThrough(t *testing.T, w *world, a, b *device, canary map[string]string) signet.RegionID {
	t.Helper()
	a.write(canary["folder"]+"/"+canary["file"]+".txt", canary["content"])
	a.write("large.bin", strings.Repeat(canary["content"]+"\n", 20_000)+string(randomBytes(300<<10)))
	if err := os.Symlink(canary["link"], filepath.Join(a.dir, "link")); err != nil {
		t.Fatal(err)
	}
	id := a.add(canary["region"])
	a.sync()
	b.add(canary["region"])
	b.sync()
	same(t, a, b)
	b.write(canary["folder"]+"/"+canary["file"]+".txt", canary["edited"])
	b.sync()
	a.sync()
	if err := os.Rename(filepath.Join(a.dir, canary["folder"], canary["file"]+".txt"), filepath.Join(a.dir, canary["folder"], canary["renamed"])); err != nil {
		t.Fatal(err)
	}
	a.sync()
	renamed := filepath.Join(a.dir, canary["folder"], canary["renamed"])
	for _, args := range [][]string{
		{"history", renamed}, {"tree", canary["region"]}, {"status"}, {"device", "list"}, {"cat", renamed},
		{"device", "rename", "plain name", canary["other device"]},
	} {
		if f := a.run(t, args...); f.code != 0 {
			t.Fatalf("%v: exit %d: %s", args, f.code, f.Message)
		}
	}
	if err := os.Remove(filepath.Join(a.dir, "large.bin")); err != nil {
		t.Fatal(err)
	}
	a.sync()
	if f := a.run(t, "restore", filepath.Join(a.dir, "large.bin")); f.code != 0 {
		t.Fatalf("restore: exit %d: %s", f.code, f.Message)
	}
	a.sync()
	before := len(w.records(signet.Journal(id)))
	crash(t, b, func() {
		b.write(canary["late"], canary["late"]+string(randomBytes(200_000)))
		eventually(t, "the service heard of a file", func() bool { return len(w.records(signet.Journal(id))) > before })
	})
	w.stop() // as after a crash of the service: nothing is lost in its log either
	w.run(w.config.Data)
	b.sync()
	a.sync()
	b.sync()
	same(t, a, b)
	return id
}

// crash runs the device's daemon as a process of its own and kills it.
func crash(t *testing.T, d *device, while func()) {
	t.Helper()
	d.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--home", string(d.home), "--verbose", "daemon")
	log := &buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "SIGNET_KEYRING=off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "daemon ready", func() bool { return bytes.Contains(log.bytes(), []byte("daemon ready")) })
	while()
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	d.open()
}
