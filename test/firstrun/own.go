//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// own shows Signet with a folder of the person's own. What it makes in .run/
// stays, so that an interrupted run goes on where it was.
func own(ctx context.Context, root, dir string, stay bool) (err error) {
	dir, err = wanted(root, dir)
	if err != nil {
		return err
	}
	s := newStage(root, filepath.Join(".run", "own", place(dir)))
	if err := s.stopLeft(); err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, s.stop()); errors.Is(err, errInterrupted) {
			s.say("The same command goes on where this was.")
		}
	}()
	o := &ownRun{stage: s, from: dir, to: filepath.Join(s.dir, desktop, filepath.Base(dir))}
	if err := o.announce(ctx); err != nil {
		return err
	}
	if err := o.work(ctx); err != nil {
		return err
	}
	return s.stayUntilInterrupted(ctx, stay)
}

// wanted is the folder that DIR names: real, not this clone, and not what is
// above it (Signet's own files would be synched by themselves).
func wanted(root, dir string) (string, error) {
	if rest, ok := strings.CutPrefix(dir, "~"); ok && (rest == "" || rest[0] == '/') {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = home + rest
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", &hinted{fmt.Errorf("DIR: %w", err), "name a folder that is there, such as make run DIR=~/Documents"}
	}
	if info, err := os.Stat(real); err != nil || !info.IsDir() {
		return "", &hinted{fmt.Errorf("DIR: %s is not a folder", real), "name a folder, such as make run DIR=~/Documents"}
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return "", err
	}
	for _, p := range [][2]string{{real, root}, {filepath.Join(root, ".run"), real}} {
		if rel, err := filepath.Rel(p[0], p[1]); err == nil && filepath.IsLocal(rel) {
			return "", &hinted{fmt.Errorf("DIR: %s and %s lie within each other", real, root), "choose a folder that does not hold this clone"}
		}
	}
	return real, nil
}

// place is the name below .run/own of all that belongs to a folder.
func place(dir string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, filepath.Base(dir))
	return fmt.Sprintf("%s-%08x", name, crc32.ChecksumIEEE([]byte(dir)))
}

// An ownRun is a run with a person's own folder.
type ownRun struct {
	*stage
	from string // the person's folder, absolute
	to   string // the copy of the second device, relative to the clone
}

func (o *ownRun) file(name string) string { return filepath.Join(o.root, o.dir, name) }

// mine reports whether the hidden folder in the person's folder is of a run
// before this one.
func (o *ownRun) mine() bool {
	b, err := os.ReadFile(o.file("folder"))
	return err == nil && string(b) == o.from
}

// announce says what will be put where, before anything is.
func (o *ownRun) announce(ctx context.Context) error {
	o.say("Signet with your folder, on this machine alone: a service, your folder as the first")
	o.say("device's, a copy of it as the second device's. What will be put where:")
	o.note("%s", filepath.Join(o.from, hidden))
	o.note("    one hidden folder: a marker, files in the making, a trash")
	o.note("%s", filepath.Join(o.root, o.dir))
	o.note("    everything else: the service's data, keys, the copy")
	o.note("Your files stay as they are. make clean-run removes both again.")
	_, err := os.Lstat(filepath.Join(o.from, hidden))
	if err == nil && !o.mine() {
		return &hinted{fmt.Errorf("%s is there already: another Signet keeps this folder in step", filepath.Join(o.from, hidden)), "choose another folder for the trial"}
	}
	if o.mine() {
		o.note("An earlier run was here: this one goes on where that was.")
	}
	return nil
}

func (o *ownRun) work(ctx context.Context) error {
	o.show("cd " + line([]string{o.root}))
	o.heading("A service, and the first device")
	known := o.enrolled(laptop)
	if !known {
		if o.mine() {
			return &hinted{errors.New("what the earlier run left is damaged"), "make clean-run, then begin anew"}
		}
		// An enrolment that was interrupted: nothing of worth is there yet.
		if err := os.RemoveAll(o.file("")); err != nil {
			return err
		}
	}
	listen, err := o.listen()
	if err != nil {
		return err
	}
	if err := o.serve(ctx, listen); err != nil {
		return err
	}
	if !known {
		if err := o.enrolFirst(ctx); err != nil {
			return err
		}
	}
	o.heading("What there is to do")
	if err := o.estimate(ctx); err != nil {
		return err
	}
	o.heading("Your folder is sealed and sent")
	if err := o.seed(ctx); err != nil {
		return err
	}
	o.heading("The second device")
	if err := o.second(ctx); err != nil {
		return err
	}
	o.heading("Everything is compared")
	if err := o.compare(ctx); err != nil {
		return err
	}
	for _, d := range []string{laptop, desktop} {
		if _, err := o.must(ctx, o.device(d, "up")...); err != nil {
			return err
		}
	}
	o.note("From now on, until this ends, a change here or there is a change in both:")
	o.note("%s", o.from)
	o.note("%s", filepath.Join(o.root, o.to))
	return nil
}

// listen is the service's address: always the same, because devices know it.
func (o *ownRun) listen() (string, error) {
	b, err := os.ReadFile(o.file("address"))
	if err == nil {
		l, err := net.Listen("tcp", string(b))
		if err != nil {
			return "", &hinted{fmt.Errorf("the address of the earlier run is taken: %w", err), "end the program that uses it, or begin anew: make clean-run"}
		}
		return string(b), l.Close()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := l.Addr().String()
	if err := os.MkdirAll(o.file(""), 0o700); err != nil {
		return "", err
	}
	return address, errors.Join(l.Close(), os.WriteFile(o.file("address"), []byte(address), 0o600))
}

// enrolled reports whether a device was enrolled to the end.
func (o *ownRun) enrolled(device string) bool {
	if _, err := os.Stat(o.file(filepath.Join(device, "home"))); err != nil {
		return false
	}
	cmd := o.command(context.Background(), o.device(device, "status", "--json")...)
	return cmd.Run() == nil
}

// An estimate is the answer of add --dry-run.
type estimate struct {
	Files int64
	Bytes int64
}

func (o *ownRun) estimate(ctx context.Context) error {
	add := o.device(laptop, "add", o.from, "--dry-run")
	if _, err := o.must(ctx, add...); err != nil {
		return err
	}
	out, err := o.command(ctx, append(add, "--json")...).Output()
	if err != nil {
		return err
	}
	var e estimate
	if err := json.Unmarshal(out, &e); err != nil {
		return err
	}
	if o.mine() {
		return nil // most of it is there
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(o.root, &fs); err != nil {
		return err
	}
	// The service's and the second device's copy, and what is kept free.
	need, free := 2*e.Bytes+e.Bytes/10+1<<30, int64(fs.Bavail)*int64(fs.Bsize)
	o.note("room in .run/: the trial takes up to %s, %s are free", size(2*e.Bytes), size(free))
	if need > free {
		return &hinted{errors.New("there is not enough room for a trial with this folder"), "choose a smaller folder"}
	}
	return nil
}

// settling is how a sync may end that did what it could: in step, or with
// names that cannot sync, which it lists.
func (o *ownRun) settling(ctx context.Context, device string) error {
	_, code, err := o.run(ctx, o.device(device, "sync")...)
	if err == nil && code != 0 && code != 5 {
		err = fmt.Errorf("signet sync: exit code %d", code)
	}
	return err
}

func (o *ownRun) seed(ctx context.Context) error {
	if added, err := o.has(ctx, laptop); err != nil {
		return err
	} else if !added {
		// First that the hidden folder will be ours, then the folder itself:
		// clean-run must know of it whatever happens in between.
		if err := os.WriteFile(o.file("folder"), []byte(o.from), 0o600); err != nil {
			return err
		}
		add := []string{"add", o.from}
		if _, err := os.Lstat(filepath.Join(o.from, hidden)); err == nil {
			add = append(add, "--relink") // an add that was interrupted
		}
		if _, err := o.must(ctx, o.device(laptop, add...)...); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := o.settling(ctx, laptop); err != nil {
		return err
	}
	o.note("took %.1f s", time.Since(began).Seconds())
	return nil
}

// has reports whether a device keeps its folder in step already.
func (o *ownRun) has(ctx context.Context, device string) (bool, error) {
	out, err := o.command(ctx, o.device(device, "status", "--json")...).Output()
	if err != nil {
		return false, fmt.Errorf("status of the %s: %w", device, err)
	}
	var status struct{ Volumes []struct{ Path string } }
	err = json.Unmarshal(out, &status)
	return len(status.Volumes) > 0, err
}

func (o *ownRun) second(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(o.root, o.to), 0o755); err != nil {
		return err
	}
	if !o.enrolled(desktop) {
		// A linking that was interrupted is begun anew.
		if err := os.RemoveAll(o.file(filepath.Join(desktop, "home"))); err != nil {
			return err
		}
		if err := o.link(ctx); err != nil {
			return err
		}
	}
	if added, err := o.has(ctx, desktop); err != nil {
		return err
	} else if !added {
		if _, err := o.must(ctx, o.device(desktop, "add", o.to)...); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := o.settling(ctx, desktop); err != nil {
		return err
	}
	o.note("took %.1f s", time.Since(began).Seconds())
	return nil
}

// compare compares all hashes. What changed while they were made is synched
// and looked at once more.
func (o *ownRun) compare(ctx context.Context) error {
	for try := 0; ; try++ {
		_, err := o.same("both folders", o.from, filepath.Join(o.root, o.to))
		if err == nil || try == 2 || ctx.Err() != nil {
			return err
		}
		o.note("not yet: %v", err)
		for _, d := range []string{laptop, desktop} {
			if err := o.settling(ctx, d); err != nil {
				return err
			}
		}
	}
}

// clean stops whatever earlier runs left at work, and removes all their traces
// but the files of a person's own folder.
func clean(run, root string) error {
	if _, err := os.Stat(run); errors.Is(err, os.ErrNotExist) {
		fmt.Println("nothing to remove")
		return nil
	}
	unlock, err := lock(run)
	if err != nil {
		return err
	}
	defer unlock()
	stages, err := filepath.Glob(filepath.Join(run, "own", "*"))
	if err != nil {
		return err
	}
	// A daemon that still ran would take the removal for deletions: all end
	// before anything goes.
	for _, dir := range append(slices.Clone(stages), filepath.Join(run, "demo")) {
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		if err := newStage(root, rel).stopLeft(); err != nil {
			return err
		}
	}
	for _, dir := range stages {
		b, err := os.ReadFile(filepath.Join(dir, "folder"))
		if err != nil {
			continue // it did not come so far
		}
		if err := removeHidden(filepath.Join(string(b), hidden)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	fmt.Println("removed", run)
	return nil
}

// removeHidden removes Signet's folder from a person's folder, and says what
// its trash had.
func removeHidden(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return nil
	}
	trash, err := list(filepath.Join(dir, "trash"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	text := "removed " + dir
	if n := trash.files(); n > 0 {
		text += " and " + strconv.Itoa(n) + " deleted files in its trash"
	}
	fmt.Println(text)
	return nil
}
